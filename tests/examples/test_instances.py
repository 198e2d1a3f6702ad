"""The recipe of a detector and a segmentation network, from a hundred annotated images to two checkpoints."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from pycocotools import mask as coco
from torch.nn import functional as F

from examples.train import annotated_images, detection_loss
from examples.train.__main__ import main
from examples.train.detection_loss import GroundTruth
from tests import training
from tests.examples.test_train import log, train
from twins.errors import DatasetError
from twins.network import ops
from twins.network.heads import mask_rcnn
from twins.network.heads.mask_rcnn import RpnLevel
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

SIDE = 96
WHOLE = (0.0, 0.0, *map(float, training.SIZE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("annotated")
    training.annotated(root / "train", 100)
    training.annotated(root / "test", 10)
    (root / "labels.txt").write_text("#000000\tground\n#0000ff\tbar\n#ff0000\tdisc\n")
    return root


@pytest.fixture(scope="module")
def output(folder):
    """A run of one epoch."""
    train(
        *("instances", "--train", folder / "train", "--test", folder / "test", "--labels", folder / "labels.txt"),
        *("--output", folder / "run", "--epochs", 1),
    )
    return folder / "run"


def test_a_run_leaves_two_models_a_log_and_a_curve(output):
    (epoch,) = log(output)
    assert 0 <= float(epoch["figure"]) <= 1
    assert float(epoch["loss"]) > 0
    assert (output / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_detector_knows_its_classes_and_its_size(output):
    loaded = load(ModelReference("mine", output / "detector.safetensors"))
    assert (loaded.card.task, loaded.card.geometry.short_side) == ("detect", 320)
    assert [label.name for label in loaded.card.labels] == ["bar", "disc"]
    assert loaded.network(torch.zeros(1, 3, 64, 96)).finite().all()


def test_the_segmentation_network_knows_its_classes_colours_and_size(output):
    card = load(ModelReference("mine", output / "segmenter.safetensors")).card
    assert [(label.name, label.colour) for label in card.labels][1:] == [("bar", "#0000ff"), ("disc", "#ff0000")]
    assert (card.task, card.geometry.short_side) == ("segment", 320)


# crops


@pytest.fixture(scope="module")
def disc(folder) -> annotated_images.AnnotatedImage:
    return annotated_images.load([folder / "train"], training.OBJECTS)[1]


def test_the_objects_of_a_crop_are_where_its_mask_has_them(disc):
    box = (10.0, 5.0, 110.0, 105.0)
    found = annotated_images.crop(disc, box, SIDE)
    expected = np.asarray(disc.mask.resize((SIDE, SIDE), Image.Resampling.NEAREST, box))
    assert found.classes.tolist() == [1]
    assert (found.masks[0] == (expected > 0)).all()
    left, top, right, bottom = found.boxes[0]
    rows, columns = np.nonzero(expected)
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.subtract((left, top, right, bottom), edges)).max() <= 1


def test_a_mirrored_crop_has_mirrored_objects(disc):
    found = annotated_images.crop(disc, WHOLE, SIDE)
    mirrored = annotated_images.mirrored(found, SIDE)
    assert (mirrored.masks == found.masks[:, :, ::-1]).all()
    assert np.allclose(mirrored.boxes[:, [0, 2]], SIDE - found.boxes[:, [2, 0]])
    assert np.allclose(annotated_images.mirrored(mirrored, SIDE).boxes, found.boxes)


def test_an_object_at_the_edge_of_a_crop_is_ignored(disc):
    left, top, _, _ = disc.boxes[0]
    found = annotated_images.crop(disc, (0.0, 0.0, float(left) + 10, float(top) + 10), SIDE)
    assert len(found.boxes) == 0
    assert len(found.ignored) == 1


def test_images_without_instances_have_masks_only(folder, tmp_path):
    training.pairs(tmp_path / "masks", 2)
    found = annotated_images.load([tmp_path / "masks"], training.OBJECTS)
    assert [each.known for each in found] == [False, False]


def test_a_large_image_is_reduced_with_its_objects(tmp_path):
    root = training.annotated(tmp_path / "large", 1)
    small = annotated_images.load([root], training.OBJECTS)[0]
    for name in ("images/000.jpg", "masks/000.png"):
        with Image.open(root / name) as image:
            image.resize([side * 4 for side in training.SIZE], Image.Resampling.NEAREST).save(root / name)
    document = json.loads((root / "instances.json").read_text())
    (entry,) = document["annotations"]
    entry["bbox"] = [edge * 4 for edge in entry["bbox"]]
    mask = coco.decode(entry["segmentation"]).repeat(4, axis=0).repeat(4, axis=1)
    rle = coco.encode(np.asfortranarray(mask))
    entry["segmentation"] = {**rle, "counts": rle["counts"].decode()}
    (root / "instances.json").write_text(json.dumps(document))
    large = annotated_images.load([root], training.OBJECTS)[0]
    scale = large.image.width / small.image.width
    assert np.allclose(large.boxes, small.boxes * scale)
    whole = (0.0, 0.0, *map(float, large.image.size))
    found = annotated_images.crop(large, whole, SIDE).masks
    assert (found == annotated_images.crop(small, WHOLE, SIDE).masks).mean() > 0.99


def test_an_unknown_category_is_refused(folder):
    with pytest.raises(DatasetError, match="'disc' is not among the labels"):
        annotated_images.load([folder / "train"], ["bar"])


# losses


def truth(boxes: list[list[float]], ignored: list[list[float]] | None = None) -> GroundTruth:
    """The objects of a crop, all of class 0, each with a mask that fills its box."""
    masks = torch.zeros(len(boxes), SIDE, SIDE, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, np.array(boxes, int).reshape(-1, 4), strict=True):
        mask[top:bottom, left:right] = 1
    return GroundTruth(
        torch.tensor(boxes).reshape(-1, 4),
        torch.zeros(len(boxes), dtype=torch.long),
        masks,
        torch.ones(len(boxes), dtype=torch.bool),
        torch.tensor(ignored or []).reshape(-1, 4),
        known=True,
    )


def test_decoding_gives_the_encoded_boxes():
    anchors = torch.tensor([[0.0, 0, 32, 32], [10, 20, 50, 30]])
    boxes = torch.tensor([[4.0, 2, 40, 20], [12, 8, 30, 60]])
    deltas = detection_loss.encode_deltas(anchors, boxes)
    assert torch.allclose(ops.decode_deltas(anchors, deltas, (SIDE, SIDE)), boxes, atol=1e-4)


def rpn_level(truths: GroundTruth, certain: float) -> RpnLevel:
    """Proposals at the objects, and on a grid beside them that are empty with the same certainty."""
    grid = ops.grid_anchors(torch.tensor([[-8.0, -8, 8, 8]]), (6, 6), 16)
    anchors = torch.cat([truths.boxes, grid])
    shown = (ops.overlaps(anchors, truths.boxes) > 0.5).any(dim=1)
    logits = torch.where(shown, certain, -certain)
    return RpnLevel(logits[None], torch.zeros(1, len(anchors), 4), anchors)


def test_right_proposals_have_a_lower_loss_than_wrong_ones():
    objects = truth([[16.0, 16, 48, 48]])
    right, unsure, wrong = (detection_loss.rpn_loss([rpn_level(objects, c)], [objects]) for c in (8.0, 0.0, -8.0))
    assert right < 0.01 < unsure < wrong


def test_proposals_in_an_ignored_region_have_no_loss():
    everywhere = [[-100.0, -100, 200, 200]]
    objects = truth([], ignored=everywhere)
    level = rpn_level(objects, certain=-8.0)
    assert detection_loss.rpn_loss([level], [truth([])]) > 1
    assert detection_loss.rpn_loss([level], [objects]) == 0
    assert not detection_loss.covered(level.anchors, torch.zeros(0, 4)).any()
    assert detection_loss.covered(level.anchors, objects.ignored).all()


def test_regions_are_the_objects_and_what_lies_beside_them():
    objects = truth([[16.0, 16, 48, 48]])
    found = detection_loss.choose([rpn_level(objects, certain=8.0)], 0, objects, (SIDE, SIDE), classes=3)
    assert found.classes[: len(found.matched)].tolist() == [0] * len(found.matched)
    assert set(found.classes[len(found.matched) :].tolist()) == {3}
    assert len(found.matched) >= 1


@pytest.mark.parametrize("cells", [(mask_rcnn.BOX_SIDE, 2), (mask_rcnn.MASK_SIDE, 1)], ids=["box", "mask"])
def test_regions_have_nearly_the_features_that_the_detector_takes(cells):
    random = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.randn(3, 8, 6, 7, generator=random), size=(64, 80), mode="bicubic")
    maps = [F.interpolate(smooth, scale_factor=1 / 2**level, mode="area") for level in range(4)]
    boxes = [
        torch.tensor([[10.0, 20, 60, 90], [5, 5, 40, 44]]),
        torch.zeros(0, 4),
        torch.tensor([[100.0, 30, 300, 250]]),
    ]
    expected = [
        mask_rcnn.features([level[number] for level in maps], own, cells[0]) for number, own in enumerate(boxes)
    ]
    found = detection_loss.features(maps, boxes, *cells)
    assert (found - torch.cat(expected)).abs().max() < 0.25 * found.std()


def test_the_target_of_a_mask_is_its_part_in_the_box():
    objects = truth([[16.0, 16, 48, 48]])
    full, half = detection_loss.mask_targets(
        objects.masks.expand(2, -1, -1), torch.tensor([[16.0, 16, 48, 48], [0, 16, 32, 48]])
    )
    assert full.mean() == 1
    assert half[:, :14].mean() == 0
    assert half[:, 14:].mean() == 1


# options


def test_a_class_that_is_not_among_the_labels_is_refused(folder, tmp_path):
    arguments = ["others", str(folder / "train"), "--output", str(tmp_path), "--labels", str(folder / "labels.txt")]
    ran = CliRunner().invoke(main, [*arguments, "--without", "kite"])
    assert ran.exit_code == 2
    assert "'kite' is not among the labels" in ran.output


def test_a_broken_file_of_instances_is_refused_by_name(folder, tmp_path):
    training.annotated(tmp_path / "broken", 1)
    (tmp_path / "broken" / "instances.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"instances\.json: this is not a file of COCO's instances"):
        annotated_images.load([tmp_path / "broken"], training.OBJECTS)


def test_an_error_of_the_user_is_one_line(folder, tmp_path):
    arguments = ["instances", "--train", str(tmp_path), "--test", str(folder / "test")]
    ran = CliRunner().invoke(
        main, [*arguments, "--labels", str(folder / "labels.txt"), "--output", str(tmp_path / "run")]
    )
    assert ran.exit_code == 1
    assert "there are no images in images/" in ran.output


def test_images_of_rare_classes_are_drawn_more_often(tmp_path):
    found = annotated_images.load([training.annotated(tmp_path / "train", 20)], training.OBJECTS)
    bars = [each for each in found if 0 in each.classes]
    (disc, *_) = [each for each in found if 1 in each.classes]
    repeated = annotated_images.with_repeats([disc, *bars * 10], classes=2, often=0.2, seed=0)
    assert sum(each is disc for each in repeated) in {4, 5}  # sqrt(0.2 * 101) is 4.5
    assert len(repeated) - sum(each is disc for each in repeated) == 10 * len(bars)
