"""Masks in the form of the Hugging Face image segmentation task: a list with an entry for each class."""

from dataclasses import dataclass

from twins.render import png
from twins.tasks.segmentation import Region, Segmentation


@dataclass(frozen=True)
class Segment:
    """One class of the list."""

    label: str
    mask: str  # a PNG in base64: 255 where the class is, 0 elsewhere
    score: float | None  # mean softmax score of its pixels; None unless confidences were asked for


def encode(found: Segmentation, regions: tuple[Region, ...]) -> tuple[Segment, ...]:
    """Return an entry for each region; `regions` comes from `twins.tasks.segmentation.regions`."""
    return tuple(
        Segment(each.label, png.as_text(png.silhouette(found.mask == each.class_id)), each.confidence)
        for each in regions
    )
