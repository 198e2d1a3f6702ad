"""The losses of Mask R-CNN: of the proposals, and of the regions that are looked at again.

Source: "Mask R-CNN" (arXiv 1703.06870), with the thresholds and the weights of its usual recipe and fewer samples.

Legend: B batch · N anchors or proposals · M objects · R regions · P regions with an object · K classes · S side
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from examples.train.precision import mixed
from twins.network import ops
from twins.network.heads import mask_rcnn
from twins.network.heads.mask_rcnn import RoiHead, RpnLevel

CERTAIN, EMPTY = 0.7, 0.3  # overlap of an anchor with an object from which on it shows it, and below which it is empty
SAMPLED_ANCHORS = 256  # of an image; at most half of them show an object
CANDIDATES, PROPOSALS = 64, 100  # of a level before suppression, and of an image after it
OBJECT = 0.5  # overlap of a region with an object that it shows
REGIONS, WITH_OBJECT = 32, 8  # of an image, and those with an object among them
COVERED = 0.5  # fraction of a box in an ignored box, from which on it is not background
BOX_SAMPLES, MASK_SAMPLES = 2, 1  # of a cell of a region for its box and its mask, across and down
PARTS = 4  # of the channels of a map; `grid_sample` works on several inputs in parallel, but not on parts of one
MASK_SIDE = 2 * mask_rcnn.MASK_SIDE  # of a mask that the network predicts


@dataclass(frozen=True)
class GroundTruth:
    """The objects of one crop as tensors."""

    boxes: Tensor  # M 4
    classes: Tensor  # M
    masks: Tensor  # M S S, uint8
    has_mask: Tensor  # M
    ignored: Tensor  # boxes, any number by 4
    known: bool


@dataclass(frozen=True)
class Regions:
    """The regions of one image whose class, box and mask are learnt."""

    boxes: Tensor  # R 4, those with an object first
    classes: Tensor  # R; K for background
    matched: Tensor  # P, the number of the object of each region that has one


def rpn_loss(levels: Sequence[RpnLevel], truths: Sequence[GroundTruth]) -> Tensor:
    """Return the loss of the proposals: whether there is an object, and its box."""
    anchors = torch.cat([level.anchors for level in levels])
    logits = torch.cat([level.logits for level in levels], dim=1)
    deltas = torch.cat([level.deltas for level in levels], dim=1)
    losses = [
        rpn_image_loss(anchors, logits[index], deltas[index], truth)
        for index, truth in enumerate(truths)
        if truth.known
    ]
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def rpn_image_loss(anchors: Tensor, logits: Tensor, deltas: Tensor, truth: GroundTruth) -> Tensor:
    """Return the loss of the proposals of one image. logits: N; deltas: N 4."""
    overlaps = ops.overlaps(anchors, truth.boxes)  # N M
    best, matched = best_match(overlaps)
    most = best_match(overlaps.T)[0]  # of each object
    certain = (best >= CERTAIN) | ((overlaps == most) & (most >= EMPTY)).any(dim=1)
    positive = sample(certain, SAMPLED_ANCHORS // 2)
    negative = sample(~certain & (best < EMPTY) & ~covered(anchors, truth.ignored), SAMPLED_ANCHORS - len(positive))
    chosen = torch.cat([positive, negative])
    if not len(chosen):
        return logits.sum() * 0
    wanted = torch.cat([torch.ones_like(logits[positive]), torch.zeros_like(logits[negative])])
    loss = F.binary_cross_entropy_with_logits(logits[chosen], wanted)
    if len(positive):
        target = encode_deltas(anchors[positive], truth.boxes[matched[positive]])
        loss = loss + (deltas[positive] - target).abs().sum() / len(chosen)
    return loss


@torch.no_grad()
def choose(levels: Sequence[RpnLevel], index: int, truth: GroundTruth, size: tuple[int, int], classes: int) -> Regions:
    """Return the regions of one image, from its proposals and its objects. `size` is that of the image."""
    found = torch.cat([proposals(levels, index, size), truth.boxes])
    best, matched = best_match(ops.overlaps(found, truth.boxes))
    positive = sample(best >= OBJECT, WITH_OBJECT)
    negative = sample((best < OBJECT) & ~covered(found, truth.ignored), REGIONS - len(positive))
    with_object = matched[positive]
    background = with_object.new_full((len(negative),), classes)
    return Regions(
        found[torch.cat([positive, negative])], torch.cat([truth.classes[with_object], background]), with_object
    )


def best_match(overlaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest overlap of each box with an object, and the number of that object, N. overlaps: N M."""
    if overlaps.shape[1]:
        best = overlaps.max(dim=1)
        return best.values, best.indices
    return overlaps.new_zeros(len(overlaps)), overlaps.new_zeros(len(overlaps), dtype=torch.long)


def proposals(levels: Sequence[RpnLevel], index: int, size: tuple[int, int]) -> Tensor:
    """Return the best boxes of one image after suppression, N 4."""
    boxes, scores, groups = [], [], []
    for number, level in enumerate(levels):
        best = level.logits[index].topk(min(CANDIDATES, len(level.anchors)))
        boxes.append(ops.decode_deltas(level.anchors[best.indices], level.deltas[index][best.indices], size))
        scores.append(best.values)
        groups.append(torch.full_like(best.indices, number))
    found, values = torch.cat(boxes), torch.cat(scores)
    filled = (found[:, 2:] - found[:, :2]).amin(dim=1) > 1
    found, values, group = found[filled], values[filled], torch.cat(groups)[filled]
    return found[ops.nms(found, values, group, threshold=mask_rcnn.PROPOSAL_OVERLAP, limit=PROPOSALS)]


def roi_loss(head: RoiHead, maps: Sequence[Tensor], chosen: Sequence[Regions], truths: Sequence[GroundTruth]) -> Tensor:
    """Return the loss of the regions: class, box and mask. maps: B C H W each."""
    classes = torch.cat([each.classes for each in chosen])
    if not len(classes):
        return maps[0].sum() * 0
    logits, deltas = mixed(
        head.bbox_head, features(maps, [each.boxes for each in chosen], mask_rcnn.BOX_SIDE, BOX_SAMPLES)
    )
    loss = F.cross_entropy(logits, classes)
    with_object = classes < logits.shape[1] - 1
    if with_object.any():
        boxes = torch.cat([each.boxes for each in chosen])[with_object]
        truth = torch.cat([each.boxes[r.matched] for each, r in zip(truths, chosen, strict=True)])
        target = encode_deltas(boxes, truth) / boxes.new_tensor(mask_rcnn.BOX_STD)
        own = deltas.unflatten(1, (-1, 4))[with_object, classes[with_object]]
        loss = loss + (own - target).abs().sum() / len(classes)
    return loss + mask_loss(head, maps, chosen, truths)


def mask_loss(
    head: RoiHead, maps: Sequence[Tensor], chosen: Sequence[Regions], truths: Sequence[GroundTruth]
) -> Tensor:
    """Return the loss of the masks of the regions whose object has one."""
    boxes, targets, classes = [], [], []
    for found, truth in zip(chosen, truths, strict=True):
        (known,) = truth.has_mask[found.matched].nonzero(as_tuple=True)
        boxes.append(found.boxes[known])
        targets.append(mask_targets(truth.masks[found.matched[known]], boxes[-1]))
        classes.append(found.classes[known])
    number = torch.cat(classes)
    if not len(number):
        return maps[0].sum() * 0
    logits = mixed(head.mask_head, features(maps, boxes, mask_rcnn.MASK_SIDE, MASK_SAMPLES))
    own = logits[torch.arange(len(number), device=number.device), number]
    return F.binary_cross_entropy_with_logits(own, torch.cat(targets))


def features(maps: Sequence[Tensor], boxes: Sequence[Tensor], side: int, samples: int) -> Tensor:
    """Return the features of the boxes of all images, R C S S. maps: B C H W each; boxes: one tensor for each image.

    Each of the S×S cells of a box is the mean of `samples` by `samples` values, where the detector takes as many as
    fit: the images of a level are sampled at once, one below the other, which is much faster.
    """
    regions = torch.cat(list(boxes))
    counts = torch.tensor([len(each) for each in boxes], device=regions.device)
    image = torch.arange(len(boxes), device=regions.device).repeat_interleave(counts)
    found = regions.new_zeros((len(regions), maps[0].shape[1], side, side))
    levels = ops.roi_levels(regions, finest=mask_rcnn.FINEST, count=mask_rcnn.POOLED_LEVELS)
    for number, (level, stride) in enumerate(zip(maps[: mask_rcnn.POOLED_LEVELS], mask_rcnn.STRIDES, strict=False)):
        (here,) = (levels == number).nonzero(as_tuple=True)
        if len(here):
            found = found.index_copy(0, here, sampled(level, regions[here] / stride, image[here], (side, samples)))
    return found


def sampled(level: Tensor, boxes: Tensor, image: Tensor, cells: tuple[int, int]) -> Tensor:
    """Return the features of boxes of one level, R C S S. level: B C H W; boxes: R 4 in its positions; image: R.

    `cells` are the number of cells of a box, and of the samples of a cell, across and down.
    """
    _, channels, height, width = level.shape
    side, samples = cells
    x, y = positions(boxes, side * samples)
    y = y.clamp(0.5, height - 0.5) + image[:, None] * height  # within its own image
    stacked = level.float().transpose(0, 1).reshape(1, channels, -1, width)
    grid = sampling_grid(x, y, stacked).flatten(0, 1).expand(PARTS, -1, -1, -1)
    parts = stacked.unflatten(1, (PARTS, -1))[0]
    found = F.avg_pool2d(F.grid_sample(parts, grid, padding_mode="border", align_corners=False), samples)
    return found.flatten(0, 1).unflatten(1, (len(boxes), -1)).transpose(0, 1)


def mask_targets(masks: Tensor, boxes: Tensor) -> Tensor:
    """Return the part of each mask in a box as a network predicts it, P 28 28. masks: P S S; boxes: P 4."""
    grid = sampling_grid(*positions(boxes, MASK_SIDE), masks)
    found = F.grid_sample(masks[:, None].float(), grid, align_corners=False)[:, 0]
    return (found >= 0.5).float()


def positions(boxes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return evenly spaced positions across and down each box, R count each. boxes: R 4."""
    steps = (torch.arange(count, device=boxes.device) + 0.5) / count
    x, y = (boxes[:, axis, None] + (boxes[:, axis + 2] - boxes[:, axis])[:, None] * steps for axis in (0, 1))
    return x, y


def sampling_grid(x: Tensor, y: Tensor, like: Tensor) -> Tensor:
    """Return the grid for `grid_sample`, R N N 2, of positions in pixels of `like` (… H W). x, y: R N."""
    height, width = like.shape[-2:]
    across, down = (x * 2 / width - 1)[:, None], (y * 2 / height - 1)[:, :, None]
    return torch.stack(torch.broadcast_tensors(across, down), dim=-1)


def encode_deltas(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return the deltas that make boxes of anchors, N 4: the inverse of `ops.decode_deltas`."""
    sides, wanted = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2 / sides
    return torch.cat([shift, (wanted / sides).log()], dim=1)


def sample(wanted: Tensor, most: int) -> Tensor:
    """Return the indices of `most` true values, at random, or of all if there are fewer. wanted: N."""
    (found,) = wanted.nonzero(as_tuple=True)
    return found[torch.randperm(len(found), device=found.device)[:most]]


def covered(boxes: Tensor, ignored: Tensor) -> Tensor:
    """Return whether each box lies mostly in one ignored box, N. boxes: N 4; ignored: any number by 4."""
    return (ops.intersections(boxes, ignored) > COVERED * ops.area(boxes)[:, None]).any(dim=1)
