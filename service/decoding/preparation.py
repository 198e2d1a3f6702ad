"""Decode and preprocess one image. Threads and decoder processes run this same code, so their answers are the same."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from twins.card import Card
from twins.images import decode
from twins.images.decode import DecodedImage, Limits, OpenedImage
from twins.images.input_image import InputImage
from twins.tasks import TASKS
from twins.tasks.options import Options
from twins.tasks.sample import Sample

IMAGE_BYTES = 4  # a pixel of a decoded image, as Pillow stores it
PREPARE_BYTES = 10  # a pixel while it is decoded and converted (two images), or copied into an array (which takes six)


@dataclass(frozen=True)
class ProcessTime:
    """When a decoder process worked on an image, on the machine's monotonic clock, and for how long."""

    pid: int
    began: float
    took_s: float


@dataclass(frozen=True)
class Prepared:
    """An image that is ready to run, and the time that it has taken so far in seconds."""

    sample: Sample
    image: DecodedImage | None  # kept if the answer shows it
    decode_s: float
    preprocess_s: float
    began: float  # when decoding began, on the machine's monotonic clock
    process: ProcessTime | None = None  # if a decoder process did the work

    @property
    def size_bytes(self) -> int:
        """Return the memory that it takes until it is answered."""
        image_bytes = IMAGE_BYTES * self.image.width * self.image.height if self.image else 0
        return self.sample.pixels.nbytes + image_bytes


@dataclass(frozen=True)
class Preparation:
    """How an image is decoded and preprocessed."""

    task: str
    card: Card
    options: Options
    limits: Limits
    exif_orientation: bool  # whether the image is turned as its EXIF orientation says
    reduces: bool  # whether the decoder may reduce the image
    shown: bool  # whether the answer shows the image, which is then kept

    def open(self, data: bytes) -> OpenedImage:
        """Return the image in a file, without decoding pixels. Raise ImageError."""
        smallest = partial(TASKS[self.task].smallest_size, card=self.card) if self.reduces and not self.shown else None
        return decode.open_image(data, self.limits, smallest_size=smallest)

    def decode(self, opened: OpenedImage) -> Prepared:
        """Return the sample of an opened image. Raise ImageError."""
        return self.preprocess(partial(opened.decode, exif_orientation=self.exif_orientation))

    def preprocess(self, image: Callable[[], InputImage]) -> Prepared:
        """Return the sample of the image that a function returns. Raise what the function raises."""
        began = time.monotonic()
        decoded = image()
        decoded_at = time.monotonic()
        sample = TASKS[self.task].preprocess(decoded, self.card, self.options)
        kept = decoded.pixels if self.shown else None
        return Prepared(sample, kept, decoded_at - began, time.monotonic() - decoded_at, began)
