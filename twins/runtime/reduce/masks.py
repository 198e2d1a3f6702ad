"""Reduces logits at a quarter of the input's size to a mask of any size, on the device.

The logits are resized bilinearly twice, to the input's size and from there to the output's, as mmsegmentation does. A
single resize would give other class edges. The output is computed in strips of rows, so that the whole logits never
exist at either size.

Legend: K classes · R rows of a strip · h w map of the logits · H W input · Y X output
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from twins.card import MAX_UINT8_CLASSES
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams

STRIP_BYTES = 32 * 2**20
"""The size of the largest tensor of a strip, unless a single row is larger. At most four tensors of that size exist at
a time, so that a mask takes 128 MiB besides the logits, the mask and its confidences, whatever the image's size."""

REACH = 3  # neighbouring columns of the logits that one value of the output can depend on


@dataclass(frozen=True)
class InterpolationRows:
    """The rows of a map from which each row of a resized map is interpolated: two rows, and the share of the second."""

    upper: Tensor
    lower: Tensor
    share: Tensor

    def rows(self, chosen: slice | Tensor) -> "InterpolationRows":
        """Return the entries of some rows of the resized map."""
        return InterpolationRows(self.upper[chosen], self.lower[chosen], self.share[chosen])


def reduce(logits: Tensor, samples: Sequence[Sample]) -> list[tuple[Tensor, ...]]:
    """Return for each sample its mask and, if its parameters ask for them, its confidences, both of Y X.

    logits: B K h w. A mask is uint8, or uint16 from 256 classes on. A confidence is the softmax score of the pixel's
    class, 0 to 255. Each sample is reduced by itself, so that its mask does not depend on the other samples of a batch.
    """
    return [reduce_one(each, sample) for each, sample in zip(logits, samples, strict=True)]


def reduce_one(logits: Tensor, sample: Sample) -> tuple[Tensor, ...]:
    """Return the mask of one sample, as `reduce` does. logits: K h w."""
    params = sample.params
    assert isinstance(params, SegmentParams)
    output = params.output_size or sample.input_size
    dtype = torch.uint8 if logits.shape[0] <= MAX_UINT8_CLASSES else torch.uint16
    # Allocated before the strips: parts that are allocated between them would pin the freed memory of each.
    mask = torch.empty(output, dtype=dtype, device=logits.device)
    confidences = torch.empty(output if params.confidence else (0, 0), dtype=torch.uint8, device=logits.device)
    for first, rows in strips(logits, sample.input_size, output):
        classes = candidate_classes(rows) if logits.device.type == "cpu" and not params.confidence else None
        chosen = rows if classes is None else rows[classes]
        values = widen(widen(chosen, sample.input_size[1]), output[1])
        best = values.max(dim=0)  # R X
        here = slice(first, first + rows.shape[1])
        mask[here] = (best.indices if classes is None else classes[best.indices]).to(dtype)
        if params.confidence:
            confidences[here] = confidence(values, best.values)
    return (mask, confidences) if params.confidence else (mask,)


def strips(logits: Tensor, inner: tuple[int, int], output: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """Yield strips of the output's rows, still as wide as the logits: the index of the first row, and K R w.

    logits: K h w.
    """
    classes, height, width = logits.shape
    first, second = (
        interpolation_rows(height, inner[0], logits.device),
        interpolation_rows(inner[0], output[0], logits.device),
    )
    count = rows_of_a_strip(classes, max(width, inner[1], output[1]))
    for start in range(0, output[0], count):
        yield start, strip(logits, first, second.rows(slice(start, start + count)))


def rows_of_a_strip(classes: int, width: int) -> int:
    """Return how many rows of the output are computed at once, at least 1."""
    return max(1, STRIP_BYTES // (4 * classes * width))


def strip(logits: Tensor, first: InterpolationRows, second: InterpolationRows) -> Tensor:
    """Return rows of logits that are resized twice, K R w: those of `second`; `first` describes the size between."""
    upper, lower = blend(logits, first.rows(second.upper)), blend(logits, first.rows(second.lower))
    return torch.lerp(upper, lower, second.share[:, None])


def interpolation_rows(size: int, target: int, device: torch.device) -> InterpolationRows:
    """Return the rows for a side of `size` resized to `target`, as PyTorch does without aligned corners."""
    scale = float(np.float32(size) / np.float32(target))  # computed here, since a copy to the device would wait for it
    at = ((torch.arange(target, dtype=torch.float32, device=device) + 0.5) * scale - 0.5).clamp(min=0)
    upper = at.long().clamp(max=size - 1)
    return InterpolationRows(upper, (upper + 1).clamp(max=size - 1), at - upper)


def blend(x: Tensor, here: InterpolationRows) -> Tensor:
    """Return the rows that `here` describes, K R w, in single precision. x: K h w."""
    return torch.lerp(x[:, here.upper].float(), x[:, here.lower].float(), here.share[:, None])


def widen(x: Tensor, width: int) -> Tensor:
    """Return x resized to K R `width`. x: K R w."""
    return x if x.shape[-1] == width else F.interpolate(x, size=width, mode="linear", align_corners=False)


def candidate_classes(rows: Tensor) -> Tensor:
    """Return the ids of the classes that can be the best one anywhere in the strip, in order. rows: K R w.

    Each value of the output lies between the least and the greatest of a few neighbouring columns. A class whose
    greatest is everywhere below another's least need not be resized. In most images that is true of most classes. The
    number of classes must be known here, for which a GPU would have to be idle; there, every class is resized.
    """
    reach = min(REACH, rows.shape[-1])
    greatest, least = F.max_pool1d(rows, reach, 1), -F.max_pool1d(-rows, reach, 1)  # K R columns
    never_best = (greatest < least.amax(dim=0)).flatten(1).all(dim=1)  # K; a class with a NaN is kept
    return never_best.logical_not().nonzero().flatten()


def confidence(values: Tensor, best: Tensor) -> Tensor:
    """Return the softmax score of the best class, 0 to 255, uint8. values: K R X, overwritten; best: their maximum."""
    return values.sub_(best).exp_().sum(dim=0).reciprocal_().mul_(255).round_().to(torch.uint8)
