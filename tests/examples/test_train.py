"""The recipe, from a hundred images to a checkpoint that the service loads without options."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from examples.train import labelled_images, pairs, segment
from service.cli.images import open_model, run
from tests import training
from tools.documents import ROOT
from twins.checkpoints import checkpoint
from twins.errors import DatasetError
from twins.evaluation import datasets
from twins.runtime.plan import Plan
from twins.tasks.classify import CLASSIFY, ClassifyOptions
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

TIMEOUT_S = 280


def train(*arguments: object) -> None:
    """The recipe's command."""
    command = [sys.executable, "-m", "examples.train", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr


def log(folder: Path) -> list[dict[str, str]]:
    """A run's epochs."""
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    training.class_folders(root / "train", 100)
    training.class_folders(root / "test", 20)
    return root


@pytest.fixture(scope="module")
def classifier(images):
    """A classifier's run of one epoch, with the teacher."""
    output = images / "run"
    train("classify", "--train", images / "train", "--test", images / "test", "--output", output, "--epochs", 1)
    return output


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    root = tmp_path_factory.mktemp("masks")
    training.pairs(root / "train", 100)
    training.pairs(root / "test", 10)
    (root / "labels.txt").write_text("#000000\tground\n#0000ff\tbar\n#ff0000\tdisc\n")
    return root


@pytest.fixture(scope="module")
def segmenter(masks, classifier):
    """A segmentation network's run of one epoch, on the backbone of the classifier."""
    train(
        *("segment", "--train", masks / "train", "--test", masks / "test", "--labels", masks / "labels.txt"),
        *("--backbone", classifier / "model.safetensors", "--output", masks / "run", "--epochs", 1),
    )
    return masks / "run"


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_a_run_leaves_a_model_a_log_and_a_curve(kind, request):
    output = request.getfixturevalue(kind)
    (epoch,) = log(output)
    assert 0 <= float(epoch["figure"]) <= 1
    assert float(epoch["loss"]) > 0
    assert (output / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (output / "model.safetensors").stat().st_size < 9e6


def test_a_classifier_knows_its_folders_as_labels_and_its_size(classifier):
    card = load(ModelReference("mine", classifier / "model.safetensors")).card
    assert [label.name for label in card.labels] == ["blue bar", "red disc"]
    assert (card.geometry.short_side, card.geometry.crop) == (124, 112)
    assert set(vars(card.sources).values()) == {"checkpoint"}


def test_a_segmentation_network_knows_its_classes_colours_and_size(segmenter):
    card = load(ModelReference("mine", segmenter / "model.safetensors")).card
    assert [(label.name, label.colour) for label in card.labels][1:] == [("bar", "#0000ff"), ("disc", "#ff0000")]
    assert (card.geometry.short_side, card.geometry.long_side, card.geometry.crop) == (224, 896, None)


def test_the_served_network_answers_as_it_was_measured(classifier, images):
    path = classifier / "model.safetensors"
    with open_model(f"mine={path}", None, Plan(), batch=8) as local:
        items = datasets.labelled_images(images / "test", local.card)
        outputs = list(run([item.path for item in items], local, CLASSIFY, ClassifyOptions()))
    right = sum(one.output.arrays[0][0] == item.class_id for item, one in zip(items, outputs, strict=True))
    assert right / len(items) == pytest.approx(float(log(classifier)[-1]["figure"]), abs=0.11)  # half precision


def test_nothing_of_the_teacher_is_left_in_the_model(classifier):
    found = checkpoint.load(classifier / "model.safetensors")
    assert found.classes == 2
    assert found.parameters < 3e6


def test_a_second_run_goes_on_after_the_last_epoch(classifier, images, tmp_path):
    before = log(classifier)
    (tmp_path / "state.pt").write_bytes((classifier / "state.pt").read_bytes())
    train(
        *("classify", "--train", images / "train", "--test", images / "test", "--output", tmp_path),
        *("--epochs", 2, "--no-teacher"),
    )
    assert [entry["epoch"] for entry in log(tmp_path)] == ["1", "2"]
    assert log(tmp_path)[0] == before[0]


def test_the_same_seed_gives_the_same_network(images, tmp_path):
    states = []
    for name in ("one", "two"):
        train(
            *("classify", "--train", images / "train", "--test", images / "test", "--output", tmp_path / name),
            *("--limit", 40, "--epochs", 1, "--no-teacher"),
        )
        states.append(checkpoint.load(tmp_path / name / "model.safetensors").state)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_backbone_of_a_segmentation_network_starts_as_the_classifiers(classifier):
    found = checkpoint.load(classifier / "model.safetensors")
    network = segment.build(found.variant, 3, found)
    key = "blocks.3.1.mlp.fc2.weight"
    assert torch.equal(network.backbone.state_dict()[key], found.state[key].float())


def test_folders_without_images_are_rejected(tmp_path):
    with pytest.raises(DatasetError, match="there are no images in class folders"):
        labelled_images.load([tmp_path])
    with pytest.raises(DatasetError, match="there are no images in images/"):
        pairs.load([tmp_path], classes=3)


def test_a_test_folder_that_lacks_a_class_keeps_the_others_numbers(images, tmp_path):
    shutil.copytree(images / "test" / "red_disc", tmp_path / "red_disc")
    tested = labelled_images.load([tmp_path], classes=("blue_bar", "red_disc"))
    assert set(tested.targets.tolist()) == {1}


def test_a_class_that_is_not_learnt_is_named(images):
    with pytest.raises(DatasetError, match="there are images of red_disc, and the classes are blue_bar"):
        labelled_images.load([images / "test"], classes=("blue_bar",))


def test_a_broken_image_is_named_without_a_traceback(tmp_path):
    training.class_folders(tmp_path, 4)
    (tmp_path / "red_disc" / "broken.jpg").write_text("no image")
    folders = ("--train", tmp_path, "--test", tmp_path, "--output", tmp_path / "run")
    command = [sys.executable, "-m", "examples.train", "classify", *folders]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 1
    assert "broken.jpg" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mask_of_a_class_without_a_label_is_named(masks):
    with pytest.raises(DatasetError, match=r"001\.png: the mask contains class 2, and there are 2 classes"):
        pairs.load([masks / "train"], classes=2)
