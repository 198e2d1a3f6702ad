"""The inputs of a call: the same answers for a file, its pixels and the network's own input; and what is refused."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.core.call import Call, Caller
from service.core.engine import Engine
from service.core.inputs import ImageTensor, InputTensor
from service.core.local import LocalPool
from service.errors import BadRequest, TooLarge
from service.settings import Settings
from twins.card import Card, Geometry, Label, Normalisation
from twins.images.decode import Limits
from twins.render import RENDERERS
from twins.runtime.choice import open_backend
from twins.runtime.inputs import prepare
from twins.runtime.plan import Plan
from twins.tasks.classify import ClassifyOptions
from twins.tasks.segment import SegmentOptions
from twins.zoo.models import ModelReference

CAT = Path(__file__).parents[3] / "examples" / "cat.jpg"
CLASSIFIER, SEGMENTER = "twins_svt_nano", "twins_svt_nano_fpn"


@asynccontextmanager
async def serving(model: str):
    """An engine over one model that ships."""
    pool = LocalPool(lambda _: open_backend(Plan("cpu")), max_batch=1)
    await pool.open()
    await pool.load(ModelReference(model))
    server = asyncio.create_task(pool.serve())
    try:
        yield Engine(Settings(), pool)
    finally:
        server.cancel()
        pool.close()


async def predict(engine: Engine, *inputs, task="classify", options=None, renderer=None):
    """Return the answers or errors of a call."""
    call = Call(task, inputs, options or ClassifyOptions(), renderer=renderer)
    with engine.call(Caller("id-1", "http", asyncio.get_running_loop().time()), "infer") as outcome:
        return await engine.predict(call, outcome)


def pixels() -> np.ndarray:
    return np.asarray(Image.open(CAT).convert("RGB"))


def network_input(model: str) -> np.ndarray:
    """Return what preprocessing makes of the image."""
    return prepare(CAT, ModelReference(model))[0]


async def test_a_file_its_pixels_and_the_networks_own_input_are_classified_alike():
    inputs = (CAT.read_bytes(), ImageTensor(pixels()), InputTensor(network_input(CLASSIFIER)))
    async with serving(CLASSIFIER) as engine:
        of_file, of_pixels, of_input = await predict(engine, *inputs)
    assert of_pixels.result == of_file.result
    for mine, expected in zip(of_input.result.predictions, of_file.result.predictions, strict=True):
        assert (mine.label, mine.score) == (expected.label, pytest.approx(expected.score, abs=1e-4))


async def test_a_tensor_is_not_decoded():
    async with serving(CLASSIFIER) as engine:
        (answer,) = await predict(engine, InputTensor(network_input(CLASSIFIER)))
    assert answer.timing.decode == 0


async def test_the_mask_of_the_networks_own_input_has_its_size():
    values = network_input(SEGMENTER)
    async with serving(SEGMENTER) as engine:
        of_input, of_file = await predict(
            engine, InputTensor(values), CAT.read_bytes(), task="segment", options=SegmentOptions(size="model")
        )
    assert of_input.result.size == values.shape[1:]
    assert np.mean(of_input.result.mask == of_file.result.mask) > 0.999


async def test_confidences_are_computed_for_the_networks_own_input_too():
    async with serving(SEGMENTER) as engine:
        options = SegmentOptions(confidence=True)
        (answer,) = await predict(engine, InputTensor(network_input(SEGMENTER)), task="segment", options=options)
    assert answer.result.confidence.shape == answer.result.size


async def test_a_format_that_shows_the_image_is_refused_for_the_networks_own_input():
    overlay = RENDERERS["segment"]["overlay"]
    async with serving(SEGMENTER) as engine:
        (error,) = await predict(
            engine,
            InputTensor(network_input(SEGMENTER)),
            task="segment",
            options=SegmentOptions(),
            renderer=overlay,
        )
    assert type(error) is BadRequest


async def test_a_bad_tensor_leaves_the_other_images_their_answers():
    async with serving(CLASSIFIER) as engine:
        error, answer = await predict(engine, ImageTensor(np.zeros((0, 8, 3), np.uint8)), CAT.read_bytes())
    assert type(error) is BadRequest
    assert answer.result.predictions


# ---------------------------------------------------------------------- what is refused


def card(**geometry) -> Card:
    labels = (Label("a"),)
    return Card("m", "classify", "none", labels, Geometry(**geometry), Normalisation(), True, "tests", "none")


LIMITS = Limits(max_pixels=10_000, max_side=1000)
CROPPED, WHOLE = card(short_side=64, crop=48), card(short_side=64, long_side=256)


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
    ],
    ids=["type", "channels", "order", "dimensions", "empty"],
)
def test_pixels_of_another_type_or_shape_are_refused(tensor):
    with pytest.raises(BadRequest, match=r"it must be uint8 of shape \(height, width, 3\)"):
        ImageTensor(tensor).image(LIMITS)


@pytest.mark.parametrize("shape", [(101, 100, 3), (1001, 1, 3)])
def test_pixels_over_a_limit_are_too_large(shape):
    with pytest.raises(TooLarge):
        ImageTensor(np.zeros(shape, np.uint8)).image(LIMITS)


def test_pixels_become_the_image_that_they_are():
    given = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(np.asarray(ImageTensor(given[:, ::-1]).image(LIMITS).pixels), given[:, ::-1])


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (CROPPED, (3, 48, 47)),
        (WHOLE, (3, 65, 66)),
        (WHOLE, (3, 64, 257)),
        (WHOLE, (3, 31, 64)),
        (WHOLE, (1, 64, 64)),
        (WHOLE, (64, 64, 3)),
    ],
)
def test_an_input_that_preprocessing_could_not_have_made_is_refused(model, shape):
    with pytest.raises(BadRequest):
        InputTensor(np.zeros(shape, np.float32)).check(model, LIMITS)


@pytest.mark.parametrize(("model", "shape"), [(CROPPED, (3, 48, 48)), (WHOLE, (3, 64, 256)), (WHOLE, (3, 256, 32))])
def test_an_input_that_preprocessing_could_have_made_is_accepted(model, shape):
    InputTensor(np.zeros(shape, np.float32)).check(model, LIMITS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_not_finite_is_refused(value):
    values = np.zeros((3, 48, 48), np.float32)
    values[1, 2, 3] = value
    with pytest.raises(BadRequest, match="not finite"):
        InputTensor(values).check(CROPPED, LIMITS)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.uint8])
def test_an_input_of_another_type_is_refused(dtype):
    with pytest.raises(BadRequest, match="float32"):
        InputTensor(np.zeros((3, 48, 48), dtype)).check(CROPPED, LIMITS)
