"""The operations of detectors on tensors: anchors, boxes, suppression, and features of regions.

They run on every device, without torchvision, and give the results of mmdetection 3.3 and mmcv 2.1: `AnchorGenerator`,
`DeltaXYWHBBoxCoder`, `batched_nms` and `RoIAlign` with aligned corners. A box is (left, top, right, bottom) in pixels.

Legend: N boxes · A anchors of a position · B batch · C channels · H W map · R regions · S side of a region's features
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from twins.network.variants import AnchorOrder

DIVISOR = 32  # of the sides of an image
MOST_SCALING = abs(math.log(16 / 1000))  # of a side by a delta, either way, as a logarithm
NMS_BLOCK = 1024  # boxes whose overlaps are computed at once
MOST_SAMPLES = 2**23  # values of a map that are sampled at once: 32 MiB in single precision


def padded(x: Tensor) -> Tensor:
    """Return images whose sides are multiples of 32, with zeros on the right and below. x: B C H W, normalised."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % DIVISOR, 0, -height % DIVISOR))


def base_anchors(base: float, scales: Sequence[float], ratios: Sequence[float], order: AnchorOrder) -> Tensor:
    """Return the anchors around a position at (0, 0), A 4: one of each scale for each ratio of height to width.

    `base` is the stride of the map. The sides are not rounded. Either the index of the ratio changes more slowly
    (mmdetection) or that of the size (detectron2).
    """
    root = torch.tensor(ratios).sqrt()[:, None]
    sizes = base * torch.tensor(scales)[None, :]
    half = torch.stack([sizes / root, sizes * root], dim=-1) / 2  # ratio scale 2
    if order == "size":
        half = half.transpose(0, 1)
    half = half.reshape(-1, 2)
    return torch.cat([-half, half], dim=1)


def grid_anchors(base: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Return the anchors of every position of a map, (H W A) 4, row by row. base: A 4; size: (H, W)."""
    rows, columns = (stride * torch.arange(side, device=base.device, dtype=base.dtype) for side in size)
    top, left = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack([left, top, left, top], dim=-1)  # H W 4
    return (shifts[:, :, None] + base).reshape(-1, 4)


def decode_deltas(anchors: Tensor, deltas: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the boxes that deltas make of anchors, clipped to an image of `size` (height, width).

    anchors: … 4; deltas: … 4, the shift of the centre in sides of the anchor and the logarithm of the scaling.
    """
    corner, end = anchors[..., :2], anchors[..., 2:]
    sides = end - corner
    centre = (corner + end) / 2 + sides * deltas[..., :2]
    half = sides * deltas[..., 2:].clamp(-MOST_SCALING, MOST_SCALING).exp() / 2
    height, width = size
    most = anchors.new_tensor([width, height, width, height])
    return torch.cat([centre - half, centre + half], dim=-1).clamp(min=0).minimum(most)


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union of each pair of boxes, N M. first: N 4; second: M 4."""
    common = intersections(first, second)
    return common / (area(first)[:, None] + area(second)[None] - common)


def intersections(first: Tensor, second: Tensor) -> Tensor:
    """Return the area that each pair of boxes shares, N M. first: N 4; second: M 4."""
    corner = torch.maximum(first[:, None, :2], second[None, :, :2])
    end = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    return (end - corner).clamp(min=0).prod(dim=-1)


def area(boxes: Tensor) -> Tensor:
    """Return the area of each box, N. boxes: N 4."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1)


def nms(boxes: Tensor, scores: Tensor, groups: Tensor, *, threshold: float, limit: int) -> Tensor:
    """Return the indices of the boxes that non-maximum suppression keeps, best first, at most `limit`.

    A box is dropped if it overlaps a better one of its group, which is kept, by more than `threshold`. Among equal
    scores the earlier box is better. boxes: N 4; scores, groups: N. Memory does not depend on the product of N with
    itself: boxes are taken in blocks, best first, until enough are kept.
    """
    order = scores.sort(descending=True, stable=True).indices
    kept = order[:0]
    for block in order.split(NMS_BLOCK):
        if len(kept) >= limit:
            break
        free = block[~suppresses(boxes, groups, kept, block, threshold).any(dim=0)]
        kept = torch.cat([kept, free[best_of(suppresses(boxes, groups, free, free, threshold))]])
    return kept[:limit]


def suppresses(boxes: Tensor, groups: Tensor, first: Tensor, second: Tensor, threshold: float) -> Tensor:
    """Return whether each box of `first` would drop each of `second`, N M. Both are indices of boxes."""
    same = groups[first][:, None] == groups[second][None]
    return same & (overlaps(boxes[first], boxes[second]) > threshold)


def best_of(drops: Tensor) -> Tensor:
    """Return which boxes a greedy choice keeps, N. drops: N N, boxes in their order, best first.

    The choice of the first n boxes is final after n rounds at most; in practice a few rounds change nothing more.
    """
    earlier = drops.triu(diagonal=1)
    kept = torch.ones(len(earlier), dtype=torch.bool, device=earlier.device)
    while True:
        found = ~(earlier & kept[:, None]).any(dim=0)
        if torch.equal(found, kept):
            return kept
        kept = found


def roi_levels(boxes: Tensor, *, finest: float, count: int) -> Tensor:
    """Return the level of a pyramid from which the features of each box are taken, N, 0 for the finest one.

    Boxes with sides of up to twice `finest` belong to the first level, and each doubling to the next.
    """
    levels = (area(boxes).sqrt() / finest + 1e-6).log2().floor()
    return levels.clamp(0, count - 1).long()


def roi_align(features: Tensor, boxes: Tensor, *, side: int, scale: float) -> Tensor:
    """Return the features of regions of one map, R C S S. features: C H W; boxes: R 4, in pixels of the image.

    `scale` is that of the map. Each of the S×S cells of a box is the mean of bilinear samples, as many as the cell has
    whole positions of the map, rounded up. A sample more than one position outside the map is zero.
    """
    features = features.float()  # positions in half precision would be off by a tenth of a pixel
    found = features.new_zeros((len(boxes), len(features), side, side))
    corner, sides = boxes[:, :2] * scale - 0.5, (boxes[:, 2:] - boxes[:, :2]) * scale
    counts = (sides / side).ceil().long()  # across, down
    for across, down in counts.clamp(min=1).unique(dim=0).tolist():
        (same,) = (counts.clamp(min=1) == counts.new_tensor([across, down])).all(dim=1).nonzero(as_tuple=True)
        for part in same.split(max(1, MOST_SAMPLES // (len(features) * side * side * across * down))):
            samples = sampled(features, corner[part], sides[part], (side * across, side * down))
            found[part] = samples.unflatten(3, (side, across)).unflatten(2, (side, down)).mean(dim=(3, 5))
    return found


def sampled(features: Tensor, corner: Tensor, sides: Tensor, counts: tuple[int, int]) -> Tensor:
    """Return bilinear samples in regions, R C (down) (across), evenly spaced. features: C H W; corner, sides: R 2."""
    size = features.shape[-1], features.shape[-2]
    grids, inside = [], []
    for axis in (0, 1):
        steps = (torch.arange(counts[axis], device=features.device) + 0.5) / counts[axis]
        at = corner[:, axis, None] + sides[:, axis, None] * steps  # R positions
        inside.append((at >= -1) & (at <= size[axis]))
        grids.append((2 * at + 1) / size[axis] - 1)
    x, y = grids
    grid = torch.stack([x[:, None].expand(-1, counts[1], -1), y[:, :, None].expand(-1, -1, counts[0])], dim=-1)
    flat = grid.flatten(0, 1)[None]  # 1 (R down) across 2: one image, so that the map is not repeated
    found = F.grid_sample(features[None], flat, mode="bilinear", padding_mode="border", align_corners=False)[0]
    found = found.unflatten(1, (len(corner), counts[1])).transpose(0, 1)  # R C down across
    return found * (inside[1][:, None, :, None] & inside[0][:, None, None, :])
