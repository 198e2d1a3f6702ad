"""Masks as polygons around connected areas.

Corners are the centres of the border pixels, which belong to the area. Filling an outline with its holes, border
included, as `cv2.fillPoly` does, therefore gives back the same mask.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from twins.tasks.detection import InstanceMask
from twins.tasks.segmentation import Region, Segmentation

Ring = tuple[tuple[int, int], ...]  # (x, y) in pixels, closed from the last to the first


@dataclass(frozen=True)
class Polygon:
    """One connected area of a class. Diagonal neighbours are connected."""

    outline: Ring
    holes: tuple[Ring, ...] = ()  # their corners belong to the area as well


def trace(found: Segmentation, regions: tuple[Region, ...]) -> dict[int, tuple[Polygon, ...]]:
    """Return the polygons of each region by class id; `regions` comes from `twins.tasks.segmentation.regions`."""
    return {region.class_id: trace_one(found, region) for region in regions}


def trace_one(found: Segmentation, region: Region) -> tuple[Polygon, ...]:
    """Return the polygons of one class."""
    left, top, right, bottom = region.box
    return trace_part(found.mask[top:bottom, left:right] == region.class_id, left, top)


def trace_instance(mask: InstanceMask) -> tuple[Polygon, ...]:
    """Return the polygons of one object."""
    return trace_part(mask.pixels, mask.left, mask.top)


def trace_part(pixels: NDArray[np.bool_], left: int, top: int) -> tuple[Polygon, ...]:
    """Return the polygons of the pixels in a part of an image that begins at (left, top)."""
    if not pixels.any():
        return ()
    inside = pixels.astype(np.uint8)
    contours, hierarchy = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))
    rings = [tuple((int(x), int(y)) for x, y in contour[:, 0].tolist()) for contour in contours]
    parents = hierarchy[0, :, 3].tolist()  # -1: an outline; else the outline that a hole lies in
    holes: dict[int, list[Ring]] = {}
    for ring, parent in zip(rings, parents, strict=True):
        holes.setdefault(parent, []).append(ring)
    return tuple(Polygon(rings[i], tuple(holes.get(i, ()))) for i, parent in enumerate(parents) if parent < 0)
