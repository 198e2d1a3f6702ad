"""Segmentation at several scales: the mean scores of an image at six sizes, each of them mirrored as well.

It is the evaluation of mmsegmentation 0.x, from which the published figures at multiple scales come: both bounds of the
image's size are multiplied by the scale, and the softmax scores at the size of the image are averaged.

Legend: K classes · R rows of a strip · h w map of the logits · Y X image
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twins.card import MAX_UINT8_CLASSES, Geometry
from twins.images.input_image import InputImage
from twins.runtime.reduce import masks
from twins.runtime.torch import TorchModel, device_errors
from twins.tasks.resizing import resized, resized_size

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@dataclass(frozen=True)
class Scaled:
    """The logits of an image at one scale, mirrored back if the image was mirrored."""

    logits: Tensor  # K h w
    first: masks.InterpolationRows  # from the logits to the input of the network
    second: masks.InterpolationRows  # from there to the image
    widths: tuple[int, int]  # of the input and of the image

    def scores(self, rows: slice) -> Tensor:
        """Return the softmax scores in some rows of the image, K R X."""
        values = masks.strip(self.logits, self.first, self.second.rows(rows))
        for width in self.widths:
            values = masks.widen(values, width)
        return values.softmax(dim=0)


def segment(model: TorchModel, image: InputImage) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the class of each pixel of an image, Y X. Raise DeviceError."""
    with device_errors(), torch.inference_mode():
        found = [view for scale in SCALES for view in views(model, image, scale)]
        return merge(found, (image.size[1], image.size[0])).cpu().numpy()


def views(model: TorchModel, image: InputImage, scale: float) -> Iterator[Scaled]:
    """Yield the image at one scale, and the same mirrored."""
    pixels = resized(image, resized_size(image.size, scaled(model.card.geometry, scale)))
    plain, mirrored = model.forward(torch.from_numpy(np.stack([pixels, pixels[:, ::-1]])), "segment")
    width, height = image.size
    for logits in (plain, mirrored.flip(-1)):
        yield Scaled(
            logits,
            masks.interpolation_rows(logits.shape[1], pixels.shape[0], logits.device),
            masks.interpolation_rows(pixels.shape[0], height, logits.device),
            (pixels.shape[1], width),
        )


def scaled(geometry: Geometry, scale: float) -> Geometry:
    """Return the geometry with both bounds multiplied."""
    long_side = None if geometry.long_side is None else int(geometry.long_side * scale)
    return replace(geometry, short_side=int(geometry.short_side * scale), long_side=long_side)


def merge(found: Sequence[Scaled], size: tuple[int, int]) -> Tensor:
    """Return the class with the best mean score of each pixel, Y X. `size` is that of the image (height, width)."""
    classes = len(found[0].logits)
    dtype = torch.uint8 if classes <= MAX_UINT8_CLASSES else torch.uint16
    mask = torch.empty(size, dtype=dtype, device=found[0].logits.device)
    count = masks.rows_of_a_strip(classes, max(width for view in found for width in view.widths))
    for start in range(0, size[0], count):
        rows = slice(start, start + count)
        total = found[0].scores(rows)
        for view in found[1:]:
            total += view.scores(rows)
        mask[rows] = total.argmax(dim=0).to(dtype)
    return mask
