"""An image file: it is decoded as every setting of the service may ask for, and preprocessed for every task."""

from functools import partial

from tests.fuzz.target import Target
from twins.card import Card, Geometry, Label, Normalisation, TaskName
from twins.images.decode import ImageError, Limits, decode
from twins.tasks import TASKS

LIMITS = Limits(max_bytes=2**16, max_pixels=2**18, max_side=2**11, max_frames=20, max_blocks=1000, max_run_pixels=2**12)
"""Small, so that an image that exceeds them takes noticeably more memory or time."""


def card(task: TaskName, geometry: Geometry) -> Card:
    """Return a model that takes small images."""
    return Card(task, task, "none", (Label("cat"),), geometry, Normalisation(), True, "tests", "none")


CARDS = (
    card("classify", Geometry(40, crop=32)),
    card("segment", Geometry(32, interpolation="bilinear", long_side=128)),
    card("detect", Geometry(32, interpolation="bilinear", long_side=53)),
)


def run(data: bytes) -> None:
    """Decode and preprocess an image for each task, reduced and as it is."""
    for card in CARDS:
        task = TASKS[card.task]
        reduced = partial(task.smallest_size, card=card)
        for smallest_size in (reduced, None):
            image = decode(data, LIMITS, exif_orientation=True, smallest_size=smallest_size)
            assert image.size[0] * image.size[1] <= LIMITS.max_pixels
            task.preprocess(image, card, task.options())


TARGET = Target(run, (ImageError,), max_memory_mb=100)
