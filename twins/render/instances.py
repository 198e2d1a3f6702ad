"""Detections as a JSON document: each object with its box and its mask in one of several forms."""

from collections.abc import Callable, Mapping

import msgspec

from twins.render import png, polygons, rle
from twins.render.document import Size
from twins.render.polygons import Polygon
from twins.render.rle import Rle
from twins.tasks.detection import Detection, DetectionResult, InstanceMask


class PngMask(msgspec.Struct, frozen=True):
    """The part of the image that contains an object: 255 where the object is, 0 elsewhere; a PNG in base64."""

    left: int
    top: int
    png: str


class DetectionBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object; `box` is left, top, right and bottom in pixels of the image."""

    class_id: int
    label: str
    score: float
    box: tuple[float, float, float, float]
    rle: Rle | None = None
    polygons: tuple[Polygon, ...] | None = None
    png: PngMask | None = None


class DetectAnswer(msgspec.Struct, frozen=True):
    """One image's objects, best first."""

    model: str
    size: Size
    detections: list[DetectionBody]


Form = Callable[[InstanceMask, tuple[int, int]], Rle | tuple[Polygon, ...] | PngMask]

FORMS: Mapping[str, Form] = {
    "rle": rle.encode_instance,
    "polygons": lambda mask, _: polygons.trace_instance(mask),
    "png": lambda mask, _: PngMask(mask.left, mask.top, png.as_text(png.silhouette(mask.pixels))),
}
"""The forms of masks by the name of the option, which is the name of the field as well."""


def describe(found: DetectionResult, model: str, masks: str) -> DetectAnswer:
    """Return the document. `masks` is the option. One mask exists at a time."""
    return DetectAnswer(model, Size(*found.size), [body(each, found.size, masks) for each in found.detections])


def body(found: Detection, size: tuple[int, int], masks: str) -> DetectionBody:
    """Return one object of the document."""
    form = FORMS.get(masks)
    mask = found.mask(size) if form else None
    encoded = {masks: form(mask, size)} if form and mask else {}
    return DetectionBody(found.class_id, found.label, found.score, found.box, **encoded)  # type: ignore[arg-type]
