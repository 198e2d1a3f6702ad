"""A backbone that learns from the teacher's maps: what the teacher sees, what is learnt, and what a run leaves."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from examples.train import augment, pretrain
from examples.train.run import Recipe
from examples.train.teacher import CHANNELS, Teacher
from tests import training
from tools.documents import ROOT
from twins.errors import DatasetError
from twins.network.variants import VARIANTS
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

STEPS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return training.class_folders(tmp_path_factory.mktemp("images"), 32)


@pytest.fixture(scope="module")
def objective(folder):
    found = pretrain.load([folder], limit=8)
    return pretrain.Pretraining(found, found, Recipe(epochs=1, batch=8, rate=1e-3))


def test_pixels_undo_the_normalisation():
    pixels = torch.randint(256, (2, 7, 7, 3), dtype=torch.uint8)
    assert torch.allclose(augment.pixels(augment.normalise(pixels)), pixels.permute(0, 3, 1, 2).float(), atol=1e-4)


def test_pixels_of_recoloured_images_are_clipped():
    found = augment.pixels(torch.full((1, 3, 7, 7), 9.0))
    assert found.unique().tolist() == [255]


def test_the_last_map_and_the_logits_are_those_of_the_whole_teacher():
    teacher = Teacher()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    *maps, logits = teacher.maps(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    assert [each.shape for each in maps] == [
        (2, c, 128 // s, 128 // s) for c, s in zip(CHANNELS, (8, 16, 32), strict=True)
    ]
    pooled = teacher.features(pixels)
    assert torch.allclose(maps[-1].mean(dim=(2, 3)), pooled, atol=0.05 * float(pooled.max()))
    assert logits.shape == (2, 1000)


def test_the_maps_of_the_network_have_the_shapes_of_the_teachers(objective):
    batch = next(objective.batches(0))
    *maps, logits = pretrain.build(VARIANTS["svt_nano"], None).with_maps(batch.x)
    assert [each.shape for each in maps] == [each.shape for each in batch.maps]
    assert logits.shape == batch.predicted.shape
    assert batch.predicted.sum(1) == pytest.approx(1, abs=1e-4)


def test_a_few_steps_bring_the_maps_closer(objective):
    torch.manual_seed(0)
    network, batch = pretrain.build(VARIANTS["svt_nano"], None), next(objective.batches(0))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(STEPS):
        loss = objective.loss(network, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="there are no images under"):
        pretrain.load([tmp_path])


def test_a_run_leaves_a_classifier_for_imagenet(folder, tmp_path):
    arguments = ("pretrain", "--train", folder, "--test", folder, "--limit", "32", "--epochs", "1")
    command = [sys.executable, "-m", "examples.train", *map(str, arguments), "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    card = load(ModelReference("mine", tmp_path / "model.safetensors")).card
    assert (len(card.labels), card.geometry.crop) == (1000, pretrain.SIZES[-1][1])
    assert (tmp_path / "curve.png").exists()
