"""`twins.preprocess`: the same pixels that the service gives to a network."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import twins
from tests import checkpoints
from tests.checkpoints import TINY_SVT
from tests.crafted import image
from twins.checkpoints import checkpoint
from twins.errors import CheckpointError, TwinsError
from twins.images.input_image import InputImage
from twins.preprocessing import Preprocessing
from twins.runtime.inputs import card_for
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchBackend
from twins.tasks import TASKS
from twins.zoo.models import DEFAULT_MODELS, parse_reference

ROTATE = 6  # the EXIF orientation of an image on its side


@pytest.fixture
def file(tmp_path):
    """A JPEG file whose EXIF tag rotates it."""
    exif = Image.Exif()
    exif[0x0112] = ROTATE
    image(size=(300, 200)).save(tmp_path / "image.jpg", exif=exif)
    return tmp_path / "image.jpg"


@pytest.fixture
def own(tmp_path):
    """Writes a checkpoint with these preprocessing values."""

    def write(**values):
        found = checkpoint.recognise(checkpoints.seeded(TINY_SVT, 3), {})
        declared = found.declared.__class__(found.declared.family, 0.9, Preprocessing(**values))
        checkpoint.save(checkpoint.Checkpoint(**{**vars(found), "declared": declared}), tmp_path / "own.safetensors")
        return tmp_path / "own.safetensors"

    return write


@pytest.mark.parametrize("task", DEFAULT_MODELS)
def test_the_input_is_what_the_service_gives_to_the_network(task, file):
    model = TorchBackend(Plan("cpu")).load(parse_reference(DEFAULT_MODELS[task]))
    decoded = Image.open(file).convert("RGB").transpose(Image.Transpose.ROTATE_270)
    sample = TASKS[task].preprocess(InputImage.whole(decoded), model.card, TASKS[task].options())
    expected = model.normalise(torch.from_numpy(sample.pixels)[None])
    torch.testing.assert_close(twins.preprocess(file, DEFAULT_MODELS[task]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", [str, lambda path: path, lambda path: path.read_bytes(), Image.open], ids=range(4))
def test_a_path_bytes_and_a_pillow_image_give_the_same_input(form, file):
    found = twins.preprocess(form(file), "twins_svt_nano")
    assert (found.shape, found.dtype) == ((1, 3, 112, 112), torch.float32)
    assert torch.equal(found, twins.preprocess(file, "twins_svt_nano"))


def test_a_published_model_needs_no_weights_and_ignores_the_orientation(file, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = twins.preprocess(file, "twins_svt_large")
    buffer = io.BytesIO()
    Image.open(file).save(buffer, "png", exif=b"")
    assert torch.equal(found, twins.preprocess(buffer.getvalue(), "twins_svt_large"))


def test_an_own_checkpoint_has_its_own_values(file, own):
    path = own(size=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    found = twins.preprocess(file, "own", path)
    assert found.shape == (1, 3, 64, 64)
    assert (found.min() >= 0) & (found.max() <= 1)
    assert torch.equal(found, twins.preprocess(file, f"own={path}"))


def test_a_checkpoint_that_was_replaced_is_read_again(file, own):
    assert twins.preprocess(file, "own", own(size=64)).shape[-1] == 64
    assert twins.preprocess(file, "own", own(size=96)).shape[-1] == 96


def test_grey_images_become_rgb(own):
    found = twins.preprocess(
        Image.fromarray(np.full((50, 50), 255, np.uint8)), "own", own(size=32, std=(1.0, 1.0, 1.0))
    )
    assert found.shape == (1, 3, 32, 32)


@pytest.mark.parametrize("value", [b"no image", "absent.jpg"])
def test_an_image_that_cannot_be_read_is_an_error_of_the_library(value):
    with pytest.raises(TwinsError):
        twins.preprocess(value, "twins_svt_nano")


def test_a_checkpoint_that_is_not_there_is_named(file, tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pth: No such file"):
        twins.preprocess(file, "own", tmp_path / "absent.pth")


def test_the_users_values_come_before_those_of_a_published_model():
    reference = replace(parse_reference("twins_svt_small"), preprocessing=Preprocessing(size=384))
    assert card_for(reference).geometry.crop == 384
