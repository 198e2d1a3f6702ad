"""The folder layouts of data sets."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from twins.card import Card, Geometry, Label, Normalisation
from twins.errors import DatasetError
from twins.evaluation import datasets
from twins.evaluation.datasets import IGNORE_INDEX, LabelledImage, MaskedImage
from twins.images.decode import ImageError

CARD = Card(
    name="net",
    task="classify",
    variant="svt_nano",
    labels=(
        Label("tench, Tinca tinca", "n01440764"),
        Label("garbage truck", "n03417042"),
        Label("crane", "n02012849"),
        Label("crane", "n03126707"),
    ),
    geometry=Geometry(124, 112),
    normalisation=Normalisation(),
    exif_orientation=True,
    source="",
    licence="",
)

ANNOTATION = "<annotation><object><name>{}</name></object><object><name>n00000000</name></object></annotation>"


def touch(folder, *names):
    """Create empty files of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("name", "class_id"),
    [
        ("n03417042", 1),
        ("garbage_truck", 1),
        ("Garbage Truck", 1),
        ("tench", 0),
        ("tinca-tinca", 0),
        ("tench, Tinca tinca", 0),
        ("3", 3),
    ],
)
def test_a_folder_is_named_as_its_class_by_synset_number_or_one_of_its_names(tmp_path, name, class_id):
    touch(tmp_path, f"{name}/x.JPEG")
    assert datasets.labelled_images(tmp_path, CARD) == [LabelledImage(tmp_path / name / "x.JPEG", class_id)]


def test_class_folders_are_read_in_order_and_at_any_depth(tmp_path):
    touch(tmp_path, "tench/b.jpg", "tench/a.jpg", "tench/x/d.jpg", "tench/notes.txt", "garbage truck/c.png")
    found = [item.path.name for item in datasets.labelled_images(tmp_path, CARD)]
    assert found == ["c.png", "a.jpg", "b.jpg", "d.jpg"]


def test_images_in_nested_folders_are_read(tmp_path):
    touch(tmp_path, "tench/a.jpg", "garbage truck/one/b.jpg", "garbage truck/two/c.jpg")
    assert [item.class_id for item in datasets.labelled_images(tmp_path, CARD)] == [1, 1, 0]


def test_a_number_that_names_a_class_is_that_class(tmp_path):
    card = replace(CARD, labels=(Label("1"), Label("2"), Label("3")))
    touch(tmp_path, "1/a.jpg", "3/b.jpg")
    assert [item.class_id for item in datasets.labelled_images(tmp_path, card)] == [0, 2]


@pytest.mark.parametrize("text", ["", "ImageId,PredictionString\none,\n", "name,class\none,n02012849\n"])
def test_a_table_with_other_columns_is_named(tmp_path, text):
    touch(tmp_path, "one.JPEG")
    (tmp_path / "LOC_val_solution.csv").write_text(text)
    with pytest.raises(DatasetError, match=r"LOC_val_solution\.csv"):
        datasets.labelled_images(tmp_path, CARD)


def test_a_folder_without_a_class_is_named(tmp_path):
    touch(tmp_path, "tench/a.jpg", "gnu/b.jpg")
    with pytest.raises(DatasetError, match=r"gnu.*no classes of net are called 'gnu'; its classes are tench"):
        datasets.labelled_images(tmp_path, CARD)


def test_a_name_of_two_classes_is_rejected(tmp_path):
    touch(tmp_path, "crane/a.jpg")
    with pytest.raises(DatasetError, match="2 classes of net are called 'crane'"):
        datasets.labelled_images(tmp_path, CARD)


def test_imagenets_validation_set_is_read_with_its_annotations(tmp_path):
    root = tmp_path / "ILSVRC"
    touch(root, "Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG", "Data/CLS-LOC/val/ILSVRC2012_val_00000002.JPEG")
    for number, synset in ((1, "n03126707"), (2, "n01440764")):
        file = root / "Annotations" / "CLS-LOC" / "val" / f"ILSVRC2012_val_0000000{number}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(ANNOTATION.format(synset))
    found = datasets.labelled_images(root / "Data" / "CLS-LOC" / "val", CARD)
    assert [(item.path.stem[-1], item.class_id) for item in found] == [("1", 3), ("2", 0)]


def test_imagenets_validation_set_is_read_with_its_table(tmp_path):
    touch(tmp_path, "ILSVRC/Data/CLS-LOC/val/one.JPEG")
    table = "ImageId,PredictionString\none,n02012849 1 2 3 4 n01440764 1 2 3 4\n"
    (tmp_path / "LOC_val_solution.csv").write_text(table)
    (found,) = datasets.labelled_images(tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / "val", CARD)
    assert found.class_id == 2


def test_an_image_that_is_not_in_the_table_is_named(tmp_path):
    touch(tmp_path, "two.JPEG")
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\none,n02012849 1 2 3 4\n")
    with pytest.raises(DatasetError, match=r"two\.JPEG: the image is not in"):
        datasets.labelled_images(tmp_path, CARD)


@pytest.mark.parametrize("text", ["<annotation/>", "no XML"])
def test_a_damaged_annotation_is_named(tmp_path, text):
    touch(tmp_path, "val/a.jpg")
    (tmp_path / "Annotations" / "val").mkdir(parents=True)
    (tmp_path / "Annotations" / "val" / "a.xml").write_text(text)
    with pytest.raises(DatasetError, match=r"a\.xml"):
        datasets.labelled_images(tmp_path / "val", CARD)


def test_images_without_labels_are_rejected(tmp_path):
    with pytest.raises(DatasetError, match=r"neither Annotations/ nor LOC_val_solution\.csv"):
        datasets.labelled_images(touch(tmp_path, "a.jpg"), CARD)


def test_an_empty_folder_is_rejected(tmp_path):
    with pytest.raises(DatasetError, match="there are no images"):
        datasets.labelled_images(tmp_path, CARD)


def test_the_layout_of_ade20k_is_known_and_its_zero_is_no_class(tmp_path):
    touch(tmp_path, "images/validation/a.jpg", "annotations/validation/a.png", "images/training/b.jpg")
    layout, found = datasets.masked_images(tmp_path)
    assert layout.reduce_zero_label
    assert found == [MaskedImage(tmp_path / "images/validation/a.jpg", tmp_path / "annotations/validation/a.png")]


def test_the_layout_with_images_and_masks_is_known(tmp_path):
    touch(tmp_path, "images/b.jpg", "images/a.png", "masks/a.png", "masks/b.png")
    layout, found = datasets.masked_images(tmp_path)
    assert not layout.reduce_zero_label
    assert [item.mask.name for item in found] == ["a.png", "b.png"]


def test_an_image_without_a_mask_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"there is no mask .*a\.png \(missing masks: 1\)"):
        datasets.masked_images(touch(tmp_path, "images/a.jpg", "masks/b.png"))


def test_an_unknown_layout_is_rejected_with_the_known_ones(tmp_path):
    layouts = r"no images/validation/ with annotations/validation/, and no images/ with masks/$"
    with pytest.raises(DatasetError, match=layouts):
        datasets.masked_images(tmp_path)


def saved(path, ids):
    """Save a mask to a file."""
    Image.fromarray(ids).save(path)
    return path


@pytest.mark.parametrize(
    ("ids", "reduce_zero_label", "expected"),
    [
        (np.array([[0, 1, 255]], np.uint8), False, [0, 1, IGNORE_INDEX]),
        (np.array([[0, 1, 255]], np.uint8), True, [IGNORE_INDEX, 0, IGNORE_INDEX]),
        (np.array([[0, 255, 65535]], np.uint16), False, [0, 255, IGNORE_INDEX]),
        (np.array([[0, 300, 65535]], np.uint16), True, [IGNORE_INDEX, 299, IGNORE_INDEX]),
    ],
)
def test_the_ignore_index_is_no_class_and_zero_only_if_the_zero_label_is_reduced(
    tmp_path, ids, reduce_zero_label, expected
):
    file = saved(tmp_path / "mask.png", ids)
    assert datasets.read_mask(file, (1, 3), reduce_zero_label=reduce_zero_label).tolist() == [expected]


def test_the_colours_of_a_palette_do_not_matter(tmp_path):
    image = Image.fromarray(np.array([[0, 2]], np.uint8), "L").convert("P")
    image.putdata([0, 2])
    image.putpalette([9, 9, 9, 8, 8, 8, 7, 7, 7])
    image.save(tmp_path / "mask.png")
    assert datasets.read_mask(tmp_path / "mask.png", (1, 2), reduce_zero_label=False).tolist() == [[0, 2]]


def test_a_mask_of_another_size_is_rejected(tmp_path):
    file = saved(tmp_path / "mask.png", np.zeros((2, 3), np.uint8))
    with pytest.raises(ImageError, match=r"the mask is \(2, 3\) and its image is \(3, 2\)"):
        datasets.read_mask(file, (3, 2), reduce_zero_label=False)
