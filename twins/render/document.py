"""A segmentation as a JSON document: the classes that are present, with their masks in one of several forms."""

import msgspec

from twins.render import png, polygons, rle
from twins.render.polygons import Polygon
from twins.render.rle import Rle
from twins.tasks.segmentation import Region, Segmentation


class Size(msgspec.Struct, frozen=True):
    """The size of a mask in pixels."""

    height: int
    width: int


class RegionBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """All pixels of one class; `box` is left, top, right and bottom in pixels, with right and bottom exclusive."""

    class_id: int
    label: str
    colour: str
    pixels: int
    share: float
    box: tuple[int, int, int, int]
    confidence: float | None = None
    rle: Rle | None = None
    polygons: tuple[Polygon, ...] | None = None


class SegmentAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image's classes, largest first; `png` is the index mask, a PNG in base64."""

    model: str
    size: Size
    classes: list[RegionBody]
    png: str | None = None


def describe(found: Segmentation, regions: tuple[Region, ...], model: str, masks: str) -> SegmentAnswer:
    """Return the document. `regions` comes from `twins.tasks.segmentation.regions`; `masks` is the option."""
    runs = rle.encode(found) if masks == "rle" else {}
    rings = polygons.trace(found, regions) if masks == "polygons" else {}
    classes = [body(region, runs.get(region.class_id), rings.get(region.class_id)) for region in regions]
    return SegmentAnswer(model, Size(*found.size), classes, png.as_text(png.index(found)) if masks == "png" else None)


def body(region: Region, runs: Rle | None = None, rings: tuple[Polygon, ...] | None = None) -> RegionBody:
    """Return one class of the document."""
    return RegionBody(
        region.class_id,
        region.label,
        region.colour,
        region.pixels,
        region.share,
        region.box,
        region.confidence,
        runs,
        rings,
    )
