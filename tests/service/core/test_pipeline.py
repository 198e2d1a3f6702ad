"""The memory that the steps of an image reserve is at least what they take."""

import io
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from service.core.pipeline import FINISH_BYTES
from service.decoding.preparation import IMAGE_BYTES, PREPARE_BYTES
from twins.card import Card, Geometry, Label, Normalisation
from twins.images.decode import Limits, decode
from twins.render import RENDERERS
from twins.render.renderer import RenderInput
from twins.tasks.classify import CLASSIFY, ClassifyOptions
from twins.tasks.detect import DETECT, DetectOptions
from twins.tasks.sample import Output
from twins.tasks.segment import SEGMENT, SegmentOptions

HEIGHT, WIDTH, BLOCK = 1600, 2400, 100
PIXELS = HEIGHT * WIDTH
CLASSES = 20
FIXED_BYTES = 20 * 2**20  # a strip of a mask while it is counted or painted: the same for every size of image


@pytest.fixture(scope="module")
def card() -> Card:
    labels = tuple(Label(str(i)) for i in range(CLASSES))
    geometry = Geometry(512, long_side=2048)
    return Card("m", "segment", "none", labels, geometry, Normalisation(), True, "tests", "none")


@pytest.fixture(scope="module")
def output() -> Output:
    """A mask of connected areas with their confidences."""
    random = np.random.default_rng(0)
    blocks = (random.integers(0, high, (HEIGHT // BLOCK, WIDTH // BLOCK), np.uint8) for high in (CLASSES, 256))
    return Output(tuple(np.kron(each, np.ones((BLOCK, BLOCK), np.uint8)) for each in blocks))


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


@contextmanager
def peak():
    """The most memory that Python and NumPy allocate meanwhile; Pillow's images are not among it."""
    tracemalloc.start()
    found = [0]
    try:
        yield found
        found[0] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


FORMATS = [(name, media_type, "rle") for name, found in RENDERERS["segment"].items() for media_type in found.encoders]
MASKS = [("json", "application/json", masks) for masks in ("polygons", "png", "none")]


@pytest.mark.parametrize("format_", [*FORMATS, *MASKS], ids=" ".join)
def test_no_format_takes_more_memory_than_is_reserved(card, output, image, format_):
    name, media_type, masks = format_
    renderer = RENDERERS["segment"][name]
    classes = tuple(map(str, range(CLASSES - 1)))
    options = SegmentOptions(classes=classes, threshold=0.2, confidence=True, masks=masks)
    with peak() as found:
        result = SEGMENT.postprocess(output, card, options)
        renderer.render(RenderInput(result, card, options, image), media_type)
    pillows = IMAGE_BYTES * PIXELS if renderer.needs_image else 0  # the file is encoded from an image
    assert found[0] + pillows <= FINISH_BYTES * PIXELS + FIXED_BYTES


DETECT_FORMATS = [(name, kind, "rle") for name, found in RENDERERS["detect"].items() for kind in found.encoders]


@pytest.mark.parametrize("format_", [*DETECT_FORMATS, *MASKS], ids=" ".join)
def test_no_format_of_detections_takes_more_memory_than_is_reserved(card, image, format_):
    name, media_type, masks = format_
    renderer = RENDERERS["detect"][name]
    box = np.array([[0, 0, WIDTH, HEIGHT]], np.float32)
    disc = 1.2 - np.hypot(*np.mgrid[-1:1:28j, -1:1:28j]).astype(np.float32)
    arrays = (np.array([HEIGHT, WIDTH]), np.tile(box, (3, 1)), np.full(3, 0.9), np.arange(3), np.stack([disc] * 3))
    found, options = Output(arrays), DetectOptions(masks=masks)
    assert DETECT.finish_pixels(found) == PIXELS
    with peak() as taken:
        renderer.render(RenderInput(DETECT.postprocess(found, card, options), card, options, image), media_type)
    pillows = 2 * IMAGE_BYTES * PIXELS if renderer.needs_image else 0  # the image is drawn on, and encoded
    assert taken[0] + pillows <= FINISH_BYTES * PIXELS + FIXED_BYTES


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_decoding_and_preprocessing_take_no_more_memory_than_is_reserved(card, image, mode):
    file = io.BytesIO()
    image.convert(mode).save(file, "PNG", compress_level=1)
    encoded = file.getvalue()
    with peak() as found:
        decoded = decode(encoded, Limits(), exif_orientation=True)
        SEGMENT.preprocess(decoded, card, SegmentOptions())
        CLASSIFY.preprocess(decoded, card, ClassifyOptions())
    assert found[0] + IMAGE_BYTES * PIXELS <= PREPARE_BYTES * PIXELS + FIXED_BYTES


def test_the_decoder_says_how_many_pixels_it_will_decode_before_it_does(image):
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    announced = []
    with pytest.raises(MemoryError):
        decode(file.getvalue(), Limits(), exif_orientation=True, reserve=lambda pixels: refuse(announced, pixels))
    assert announced == [PIXELS]


def refuse(announced: list[int], pixels: int) -> None:
    announced.append(pixels)
    raise MemoryError
