"""The formats of detections."""

from collections.abc import Mapping
from functools import partial

import msgspec

from twins.render import boxes, coco, huggingface, instances, npy, overlay, palette
from twins.render.renderer import JPEG, JSON, NPY, PNG, Renderer, RenderInput


def encode_json(inputs: RenderInput) -> bytes:
    """Return the objects, each with its box and its mask."""
    return msgspec.json.encode(instances.describe(inputs.result, inputs.card.key, inputs.options.masks))


def encode_huggingface(inputs: RenderInput) -> bytes:
    """Return the list that Hugging Face's object detection task returns."""
    return msgspec.json.encode(huggingface.objects(inputs.result))


def encode_coco(inputs: RenderInput) -> bytes:
    """Return the list that COCO's evaluation reads."""
    return msgspec.json.encode(coco.results(inputs.result, inputs.options.image_id))


def encode_overlay(inputs: RenderInput, *, encoding: overlay.Encoding) -> bytes:
    """Return the image with boxes, names and masks."""
    assert inputs.image is not None, "an overlay needs the image"
    colours = palette.colours(inputs.result.labels)
    return boxes.encode(inputs.result, inputs.image, colours, opacity=inputs.options.opacity, encoding=encoding)


DETECT_RENDERERS: Mapping[str, Renderer] = {
    "json": Renderer({JSON: encode_json}, document=instances.DetectAnswer),
    "overlay": Renderer(
        {PNG: partial(encode_overlay, encoding="png"), JPEG: partial(encode_overlay, encoding="jpeg")},
        needs_image=True,
    ),
    "npy": Renderer({NPY: lambda inputs: npy.encode(inputs.result.array)}),
    "hf": Renderer({JSON: encode_huggingface}, document=tuple[huggingface.FoundObject, ...]),
    "coco": Renderer({JSON: encode_coco}, document=list[coco.CocoResult]),
}
"""By the format's name."""
