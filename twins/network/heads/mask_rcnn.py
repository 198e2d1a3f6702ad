"""Mask R-CNN: proposals from a pyramid, then a class, a box and a mask for each of them.

Source: "Mask R-CNN" (arXiv 1703.06870). Parameters have mmdetection's names, and the results are those of its `RPNHead`
and `StandardRoIHead` with the authors' test settings.

Legend: B batch · C channels · H W map · A anchors of a position · K classes · N proposals · R regions
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twins.network import ops
from twins.network.backbone import Backbone
from twins.network.detections import Detections, Selection, usual
from twins.network.heads.conv import Conv
from twins.network.heads.fpn import Pyramid
from twins.network.heads.retinanet import by_anchor, only

STRIDES = (4, 8, 16, 32, 64)
RATIOS = (0.5, 1.0, 2.0)  # of height to width
SCALES = (8.0,)  # of an anchor's side to the stride
PROPOSALS = 1000  # the most of a level before suppression, and of an image after it
PROPOSAL_OVERLAP = 0.7

POOLED_LEVELS = 4  # the coarsest level is for proposals only
FINEST = 56.0  # half the side of the largest regions whose features come from the first level, in pixels
BOX_SIDE, MASK_SIDE = 7, 14  # of the features of a region
BOX_STD = (0.1, 0.1, 0.2, 0.2)  # of the deltas of the second stage
MASK_CONVS = 4


class RpnPyramid(Pyramid):
    """A pyramid over all maps, and every second position of its last map."""

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return five maps B C H W at `STRIDES`. maps: the four of the backbone."""
        levels = super().forward(maps)
        return [*levels, F.max_pool2d(levels[-1], kernel_size=1, stride=2)]


class RpnHead(nn.Module):
    """Convolutions that find whether there is an object at an anchor, and its box."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        anchors = len(RATIOS) * len(SCALES)
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, anchors, 1)
        self.rpn_reg = nn.Conv2d(channels, anchors * 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits B A H W and deltas B (A 4) H W of one level. x: B C H W."""
        hidden = F.relu(self.rpn_conv(x))
        return self.rpn_cls(hidden), self.rpn_reg(hidden)


class BoxHead(nn.Module):
    """Linear layers that find the class and the box of a region."""

    def __init__(self, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        inputs = channels * BOX_SIDE**2
        self.shared_fcs = nn.ModuleList([nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)])
        self.fc_cls = nn.Linear(hidden, classes + 1)  # the background is the last class
        self.fc_reg = nn.Linear(hidden, classes * 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits R (K + 1) and deltas R (K 4). x: R C 7 7."""
        hidden = x.flatten(1)
        for layer in self.shared_fcs:
            hidden = F.relu(layer(hidden))
        return self.fc_cls(hidden), self.fc_reg(hidden)


class MaskHead(nn.Module):
    """Convolutions that find the mask of a region for each class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(channels, channels, 3) for _ in range(MASK_CONVS))
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.conv_logits = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits R K 28 28. x: R C 14 14."""
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.conv_logits(F.relu(self.upsample(x)))


class RoiHead(nn.Module):
    """The second stage: it looks at regions of the maps."""

    def __init__(self, bbox_head: BoxHead, mask_head: MaskHead) -> None:
        super().__init__()
        self.bbox_head = bbox_head
        self.mask_head = mask_head

    def boxes(self, maps: Sequence[Tensor], proposals: Tensor, wanted: Selection) -> Detections:
        """Return the detections of one image, without masks and in pixels of the input.

        maps: its levels, C H W each; proposals: N 4.
        """
        logits, deltas = self.bbox_head(features(maps, proposals, BOX_SIDE))
        scores = logits.float().softmax(dim=1)[:, :-1]  # N K
        if wanted.classes:
            scores = only(scores, wanted.classes)
        regions, classes = (scores > wanted.threshold).nonzero(as_tuple=True)
        chosen = deltas.float().unflatten(1, (-1, 4))[regions, classes]
        boxes = ops.decode_deltas(proposals[regions], chosen * chosen.new_tensor(BOX_STD), wanted.size)
        found = scores[regions, classes]
        kept = ops.nms(boxes, found, classes, threshold=wanted.overlap, limit=wanted.limit)
        return Detections(boxes[kept], found[kept], classes[kept])

    def masks(self, maps: Sequence[Tensor], found: Detections) -> Tensor:
        """Return the masks of detections in pixels of the input, N 28 28, each of the class that was found."""
        logits = self.mask_head(features(maps, found.boxes, MASK_SIDE))
        return logits[torch.arange(len(logits), device=logits.device), found.classes].float().sigmoid()


def features(maps: Sequence[Tensor], boxes: Tensor, side: int) -> Tensor:
    """Return the features of boxes, R C S S, each from the level that fits its size. maps: C H W each; boxes: R 4."""
    found = boxes.new_zeros((len(boxes), len(maps[0]), side, side), dtype=maps[0].dtype)
    levels = ops.roi_levels(boxes, finest=FINEST, count=POOLED_LEVELS)
    for index, (level, stride) in enumerate(zip(maps[:POOLED_LEVELS], STRIDES, strict=False)):
        (here,) = (levels == index).nonzero(as_tuple=True)
        found[here] = ops.roi_align(level, boxes[here], side=side, scale=1 / stride).to(found.dtype)
    return found


class RpnLevel(NamedTuple):
    """What the first stage predicts at one level of a batch, by anchor."""

    logits: Tensor  # B N, float32
    deltas: Tensor  # B N 4, float32
    anchors: Tensor  # N 4


@dataclass(frozen=True)
class MaskRcnnPredictions:
    """What the first stage predicts for a batch, and the second stage."""

    size: tuple[int, int]  # (height, width) of the images
    maps: Sequence[Tensor]  # B C H W each
    levels: Sequence[RpnLevel]
    roi_head: RoiHead

    def finite(self) -> Tensor:
        """Return for each image whether all values are finite, B."""
        values = [each.isfinite().flatten(1).all(dim=1) for level in self.levels for each in level[:2]]
        return torch.stack(values).all(dim=0)

    def detections(self, selections: Sequence[Selection] | None = None) -> list[Detections]:
        """Return the detections of each image. By default the published test settings select them."""
        selections = selections or usual(self.size, len(self.maps[0]))
        return [self.choose(index, wanted) for index, wanted in enumerate(selections)]

    def choose(self, index: int, wanted: Selection) -> Detections:
        """Return the detections of one image."""
        maps = [each[index] for each in self.maps]
        found = self.roi_head.boxes(maps, self.proposals(index, wanted.size), wanted)
        masks = self.roi_head.masks(maps, found) if wanted.masks else None
        return Detections(found.boxes / found.boxes.new_tensor(wanted.scale * 2), found.scores, found.classes, masks)

    def proposals(self, index: int, size: tuple[int, int]) -> Tensor:
        """Return the boxes of one image that may contain an object, N 4 in pixels of the input, best first."""
        boxes, scores, groups = [], [], []
        for number, level in enumerate(self.levels):
            best = level.logits[index].sigmoid().sort(descending=True, stable=True)
            chosen = best.indices[:PROPOSALS]
            decoded = ops.decode_deltas(level.anchors[chosen], level.deltas[index][chosen], size)
            filled = (decoded[:, 2:] > decoded[:, :2]).all(dim=1)
            boxes.append(decoded[filled])
            scores.append(best.values[:PROPOSALS][filled])
            groups.append(torch.full_like(scores[-1], number, dtype=torch.long))
        found = torch.cat(boxes)
        kept = ops.nms(found, torch.cat(scores), torch.cat(groups), threshold=PROPOSAL_OVERLAP, limit=PROPOSALS)
        return found[kept]


class MaskRcnn(nn.Module):
    """A backbone, a pyramid, and two stages of heads."""

    def __init__(self, backbone: Backbone, neck: RpnPyramid, rpn_head: RpnHead, roi_head: RoiHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.rpn_head = rpn_head
        self.roi_head = roi_head

    @cached_property
    def bases(self) -> list[Tensor]:
        """Return the anchors around a position, A 4 for each level."""
        return [ops.base_anchors(stride, SCALES, RATIOS, "ratio") for stride in STRIDES]

    def forward(self, x: Tensor) -> MaskRcnnPredictions:
        """Return what is predicted for a batch. x: B 3 H W, normalised."""
        maps = self.pyramid(x)
        levels = [self.level(*each) for each in zip(maps, self.bases, STRIDES, strict=True)]
        return MaskRcnnPredictions((x.shape[-2], x.shape[-1]), maps, levels, self.roi_head)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Return the five maps B C H W at `STRIDES` of the padded images. x: B 3 H W, normalised."""
        return self.neck(self.backbone.maps(ops.padded(x)))

    def level(self, maps: Tensor, base: Tensor, stride: int) -> RpnLevel:
        """Return what the first stage predicts at one level. maps: B C H W; base: A 4."""
        logits, deltas = self.rpn_head(maps)
        anchors = ops.grid_anchors(base.to(maps.device), (maps.shape[-2], maps.shape[-1]), stride)
        count = len(base)
        return RpnLevel(by_anchor(logits, count).flatten(1), by_anchor(deltas, count), anchors)
