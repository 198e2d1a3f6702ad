"""Images of other things: their crops, their targets, and how often they are drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from examples.train import annotated_images, classify, labelled_images, others
from examples.train.labelled_images import NO_CLASS, LabelledImages
from examples.train.run import Recipe
from tests import training
from twins.errors import DatasetError

DISC = training.OBJECTS.index("disc")


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """Images of 450x360 pixels, so that there is room beside an object."""
    root = training.annotated(tmp_path_factory.mktemp("annotated") / "train", 6)
    found = annotated_images.load([root], training.OBJECTS)
    return [enlarged(each, 3) for each in found]


def enlarged(source, times):
    size = [side * times for side in source.image.size]
    mask = source.mask.resize(size, Image.Resampling.NEAREST)
    boxes, ignored = source.boxes * times, source.ignored * times
    return annotated_images.AnnotatedImage(
        source.image.resize(size), mask, boxes, source.classes, source.instances, ignored, source.known
    )


def test_a_crop_shows_nothing_of_the_classes_and_no_part_twice(annotated):
    count = 0
    for index, source in enumerate(annotated):
        covered = np.zeros(np.asarray(source.mask).shape, int)
        for left, top, right, bottom in others.boxes(source, index, [DISC], seed=0):
            covered[int(top) : int(bottom), int(left) : int(right)] += 1
            count += 1
        assert covered.max() <= 1
        assert not ((np.asarray(source.mask) == DISC + 1) & (covered > 0)).any()
    assert count > 2


def test_crops_may_show_the_other_classes(annotated):
    bar = 0  # the first image shows a bar
    box = next(others.boxes(annotated[bar], 0, [DISC], seed=0))
    assert box[2] - box[0] >= others.SMALLEST


def test_images_without_annotated_objects_give_no_crops(annotated):
    source = annotated[0]
    unknown = annotated_images.AnnotatedImage(
        source.image, source.mask, source.boxes, source.classes, source.instances, source.ignored, known=False
    )
    assert list(others.boxes(unknown, 0, [DISC], seed=0)) == []


def test_at_most_so_many_crops_of_an_image_are_written(annotated, tmp_path):
    count = others.write(annotated, tmp_path, [DISC], most=1, seed=0)
    assert 0 < count <= len(annotated)
    assert len(list(tmp_path.glob("*.jpg"))) == count


@pytest.fixture
def objective(tmp_path) -> classify.Classification:
    root = training.class_folders(tmp_path / "train", 20)
    training.pairs(tmp_path / "others", 4)
    known = labelled_images.load([root])
    train = labelled_images.with_others(known, [tmp_path / "others" / "images"])
    return classify.Classification(train, known, Recipe(epochs=1, batch=8, rate=1e-3), None)


def test_the_target_of_another_thing_is_no_class_more_than_another(objective):
    chosen = np.array([0, 20])
    assert objective.train.targets[chosen].tolist() == [0, NO_CLASS]
    (targets,) = objective.targets(chosen, np.array([0, 0]))
    assert torch.allclose(targets.sum(dim=1), torch.ones(2))
    assert targets[0].argmax() == 0
    assert torch.allclose(targets[1], torch.full((2,), 0.5))


def test_one_image_in_eight_shows_another_thing(objective):
    shown = objective.train.targets != NO_CLASS
    assert objective.probabilities[~shown].sum() == pytest.approx(classify.OTHERS)
    assert objective.probabilities.sum() == pytest.approx(1)


def test_without_other_things_every_image_has_a_class():
    images = LabelledImages((), np.array([0, 0, 0, 0, 1]), ("bar", "disc"))
    found = classify.probabilities(images.targets)
    assert found[0] == pytest.approx(found[4] / 2)


def test_an_empty_folder_of_other_things_is_refused(objective, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="there are no images"):
        labelled_images.with_others(objective.test, [tmp_path / "empty"])
