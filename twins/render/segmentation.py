"""The formats of segmentations."""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from twins.card import MAX_UINT8_CLASSES, Label
from twins.render import huggingface, npy, overlay, palette, png
from twins.render.document import SegmentAnswer, describe
from twins.render.renderer import JPEG, JSON, NPY, PNG, Renderer, RenderInput
from twins.tasks.segmentation import Region, regions

BACKGROUND = "background"  # the name of the class whose pixels an overlay leaves as they are


def found_regions(inputs: RenderInput) -> tuple[Region, ...]:
    """Return the classes that are present, largest first."""
    return regions(inputs.result, palette.colours(inputs.result.labels))


def encode_json(inputs: RenderInput) -> bytes:
    """Return the classes that are present, each with its mask."""
    answer = describe(inputs.result, found_regions(inputs), inputs.card.key, inputs.options.masks)
    return msgspec.json.encode(answer)


def encode_huggingface(inputs: RenderInput) -> bytes:
    """Return the list that Hugging Face's image segmentation task returns."""
    return msgspec.json.encode(huggingface.encode(inputs.result, found_regions(inputs)))


def encode_palette(inputs: RenderInput) -> bytes:
    """Return the index mask with the classes' colours."""
    return png.palette(inputs.result, palette.colours(inputs.result.labels))


def encode_overlay(inputs: RenderInput, *, encoding: overlay.Encoding) -> bytes:
    """Return the image under the coloured mask."""
    assert inputs.image is not None, "an overlay needs the image"
    labels = inputs.result.labels
    style = overlay.Style(palette.colours(labels), background(labels), inputs.options.opacity)
    return overlay.encode(inputs.result, inputs.image, style, encoding)


def background(labels: Sequence[Label]) -> int | None:
    """Return the class that is named `background`, if there is one."""
    return next((number for number, label in enumerate(labels) if label.name.lower() == BACKGROUND), None)


SEGMENT_RENDERERS: Mapping[str, Renderer] = {
    "json": Renderer({JSON: encode_json}, document=SegmentAnswer),
    "png": Renderer({PNG: lambda inputs: png.index(inputs.result)}),
    "palette": Renderer({PNG: encode_palette}, max_classes=MAX_UINT8_CLASSES),
    "overlay": Renderer(
        {PNG: partial(encode_overlay, encoding="png"), JPEG: partial(encode_overlay, encoding="jpeg")},
        needs_image=True,
    ),
    "hf": Renderer({JSON: encode_huggingface}, document=tuple[huggingface.Segment, ...]),
    "npy": Renderer({NPY: lambda inputs: npy.encode(inputs.result.mask)}),
}
"""By the format's name."""
