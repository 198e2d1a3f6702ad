"""The average precision of detections equals that of pycocotools, and data sets are read with their mistakes named."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from twins.card import Label
from twins.errors import DatasetError
from twins.evaluation import coco

LABELS = (Label("dog"), Label("cat"), Label("bird"))
CATEGORIES = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]


@pytest.fixture
def folder(tmp_path):
    """Write a data set of random boxes, as COCO has it."""
    generator = np.random.default_rng(0)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    images, annotations = [], []
    for image_id in range(1, 7):
        images.append({"id": image_id, "file_name": f"{image_id:012}.jpg", "height": 120, "width": 160})
        Image.new("RGB", (160, 120)).save(tmp_path / "val2017" / images[-1]["file_name"])
        for _ in range(4):
            left, top = generator.integers(0, 90, 2).tolist()
            width, height = generator.integers(5, 70, 2).tolist()
            polygon = [left, top, left + width, top, left + width, top + height, left, top + height]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(generator.choice([17, 18])),
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [polygon],
                }
            )
    truth = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(truth))
    return tmp_path


def detections(folder) -> list[dict]:
    """Return the true boxes moved a little, each with a score, and some that are wrong."""
    generator = np.random.default_rng(1)
    truth = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    return [
        {
            "image_id": each["image_id"],
            "category_id": each["category_id"] if generator.random() < 0.8 else 17,
            "bbox": (np.array(each["bbox"]) + generator.normal(0, 4, 4)).clip(1).tolist(),
            "score": float(generator.random()),
        }
        for each in truth["annotations"]
    ]


def perfect(annotations: list[dict]) -> list[dict]:
    """Return the objects themselves as detections."""
    found = []
    for each in annotations:
        runs = mask.merge(mask.frPyObjects(each["segmentation"], 120, 160))
        kept = {name: each[name] for name in ("image_id", "category_id", "bbox")}
        found.append({**kept, "score": 0.9, "segmentation": {**runs, "counts": runs["counts"].decode()}})
    return found


def pycocotools(folder, results: list[dict]) -> np.ndarray:
    """Return the statistics that pycocotools computes from files."""
    (folder / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "annotations" / "instances_val2017.json"))
        run = COCOeval(truth, truth.loadRes(str(folder / "results.json")), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    (folder / "results.json").unlink()
    return run.stats


def test_the_precision_equals_that_of_pycocotools(folder):
    results = detections(folder)
    expected = pycocotools(folder, results)
    found = coco.score(coco.read(folder, LABELS), results, LABELS).box
    assert (found.ap, found.ap50, found.ap75, found.small, found.medium, found.large) == pytest.approx(expected[:6])
    assert 0 < found.ap < 1


def test_the_precision_over_all_classes_is_the_mean_of_the_classes(folder):
    found = coco.score(coco.read(folder, LABELS), detections(folder), LABELS)
    means = [sum(values) / 2 for values in zip(*((each.box, each.box50) for each in found.classes), strict=True)]
    assert means == pytest.approx([found.box.ap, found.box.ap50])


def test_perfect_detections_have_the_highest_precision(folder):
    truth = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    found = coco.score(coco.read(folder, LABELS), perfect(truth["annotations"]), LABELS)
    assert (found.box.ap, found.mask.ap) == (1, 1)
    assert {each.label: (each.box, each.mask50) for each in found.classes} == {"cat": (1, 1), "dog": (1, 1)}


def test_no_detections_have_no_precision(folder):
    found = coco.score(coco.read(folder, LABELS), [], LABELS)
    assert (found.box.ap, found.mask, found.images) == (0, None, 6)


def test_an_object_that_is_to_be_ignored_is_neither_found_nor_missed(folder):
    results = detections(folder)
    file = folder / "annotations" / "instances_val2017.json"
    truth = json.loads(file.read_text())
    for each in truth["annotations"][::3]:
        each["iscrowd"] = 1
    file.write_text(json.dumps(truth))
    expected = pycocotools(folder, results)
    for each in truth["annotations"][::3]:
        each |= {"iscrowd": 0, "ignore": 1}
    file.write_text(json.dumps(truth))
    found = coco.score(coco.read(folder, LABELS), results, LABELS)
    assert found.box.ap == pytest.approx(expected[0])
    assert sum(each.objects for each in found.classes) == len(truth["annotations"]) * 2 // 3


def test_an_object_without_a_mask_is_scored_by_its_box_alone(folder):
    file = folder / "annotations" / "instances_val2017.json"
    truth = json.loads(file.read_text())
    results = perfect(truth["annotations"])
    for each in truth["annotations"][::2]:
        del each["segmentation"]
    file.write_text(json.dumps(truth))
    found = coco.score(coco.read(folder, LABELS), results, LABELS)
    assert (found.box.ap, found.mask.ap) == (1, 1)


def test_classes_are_matched_by_their_names(folder):
    data = coco.read(folder, LABELS)
    assert data.categories[:2] == (18, 17)
    assert data.categories[2] not in (17, 18)
    assert [image.path.name for image in data.images][:2] == ["000000000001.jpg", "000000000002.jpg"]


@pytest.mark.parametrize("place", ["images", "."])
def test_images_may_be_in_a_folder_of_another_name(folder, place):
    for path in (folder / "val2017").iterdir():
        (folder / place).mkdir(exist_ok=True)
        path.rename(folder / place / path.name)
    assert len(coco.read(folder, LABELS).images) == 6


def test_the_file_whose_images_are_there_is_chosen(folder):
    (folder / "annotations" / "instances_train2017.json").write_text("{}")
    assert len(coco.read(folder, LABELS).images) == 6


MISTAKES = {
    "no file": (lambda folder: (folder / "annotations" / "instances_val2017.json").unlink(), "there is none"),
    "no images": (lambda folder: [path.unlink() for path in (folder / "val2017").iterdir()], "000000000001.jpg is in"),
    "no json": (lambda folder: write(folder, "text"), "not a file of COCO's instances"),
    "another document": (lambda folder: write(folder, "[1]"), "not a file of COCO's instances"),
    "no annotations": (lambda folder: write(folder, '{"images": [], "categories": []}'), "not a file of COCO's"),
    "an object without an area": (
        lambda folder: write(
            folder, '{"images": [], "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": []}]}'
        ),
        "an entry of annotations lacks area",
    ),
    "nothing in it": (lambda folder: write(folder, '{"images": [], "annotations": [], "categories": []}'), "no images"),
}


def write(folder, text: str) -> None:
    (folder / "annotations" / "instances_val2017.json").write_text(text)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_folder_that_cannot_be_used_is_refused_with_the_reason(folder, mistake):
    spoil, hint = MISTAKES[mistake]
    spoil(folder)
    with pytest.raises(DatasetError, match=hint):
        coco.read(folder, LABELS)


def test_a_category_that_the_model_does_not_have_is_named(folder):
    with pytest.raises(DatasetError, match="no class 'cat'"):
        coco.read(folder, (Label("dog"), Label("horse")))
