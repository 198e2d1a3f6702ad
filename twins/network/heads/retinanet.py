"""RetinaNet: a pyramid from stride 8 to 128, and a head that finds a class and a box at every anchor.

Source: "Focal Loss for Dense Object Detection" (arXiv 1708.02002). Parameters have mmdetection's names, and the results
are those of its `RetinaHead` with the authors' test settings.

Legend: B batch · C channels · H W map · A anchors of a position · K classes · N anchors of an image
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twins.network import ops
from twins.network.backbone import Backbone
from twins.network.detections import Detections, Selection, usual
from twins.network.heads.conv import Conv
from twins.network.heads.fpn import Pyramid
from twins.network.variants import Family, PerStage

STRIDES = (8, 16, 32, 64, 128)
RATIOS = (0.5, 1.0, 2.0)  # of height to width
SCALES = tuple(4 * 2 ** (third / 3) for third in range(3))  # of an anchor's side to the stride
ANCHORS = len(RATIOS) * len(SCALES)
CONVS = 4
CANDIDATES = 1000  # the most boxes of a level, before suppression


class RetinaPyramid(Pyramid):
    """A pyramid over the maps at strides 8 to 32, and two coarser maps that are convolved from the last one."""

    def __init__(self, dims: PerStage, channels: int, *, relu: bool) -> None:
        super().__init__(dims[1:], channels)
        self.relu = relu  # before the last convolution
        self.fpn_convs.extend([Conv(dims[3], channels, 3, stride=2), Conv(channels, channels, 3, stride=2)])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return five maps B C H W at `STRIDES`. maps: the four of the backbone."""
        levels = super().forward(maps[1:])
        levels.append(self.fpn_convs[3](maps[3]))
        levels.append(self.fpn_convs[4](F.relu(levels[3]) if self.relu else levels[3]))
        return levels


class RetinaHead(nn.Module):
    """Convolutions that find scores and boxes, with the same weights for all levels."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.cls_convs = nn.ModuleList(Conv(channels, channels, 3) for _ in range(CONVS))
        self.reg_convs = nn.ModuleList(Conv(channels, channels, 3) for _ in range(CONVS))
        self.retina_cls = nn.Conv2d(channels, ANCHORS * classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(channels, ANCHORS * 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits B (A K) H W and deltas B (A 4) H W of one level. x: B C H W."""
        scores, boxes = x, x
        for score_conv, box_conv in zip(self.cls_convs, self.reg_convs, strict=True):
            scores, boxes = F.relu(score_conv(scores)), F.relu(box_conv(boxes))
        return self.retina_cls(scores), self.retina_reg(boxes)


@dataclass(frozen=True)
class Level:
    """What the head predicts at one level of a batch, by anchor."""

    logits: Tensor  # B N K, float32
    deltas: Tensor  # B N 4, float32
    anchors: Tensor  # N 4


@dataclass(frozen=True)
class RetinaPredictions:
    """What the head predicts for a batch."""

    size: tuple[int, int]  # (height, width) of the images
    levels: Sequence[Level]

    def finite(self) -> Tensor:
        """Return for each image whether all values are finite, B."""
        values = (
            each.isfinite().flatten(1).all(dim=1) for level in self.levels for each in (level.logits, level.deltas)
        )
        return torch.stack(list(values)).all(dim=0)

    def detections(self, selections: Sequence[Selection] | None = None) -> list[Detections]:
        """Return the detections of each image. By default the published test settings select them."""
        selections = selections or usual(self.size, len(self.levels[0].logits))
        return [self.choose(index, wanted) for index, wanted in enumerate(selections)]

    def choose(self, index: int, wanted: Selection) -> Detections:
        """Return the detections of one image."""
        found = [candidates(level, index, wanted) for level in self.levels]
        boxes, scores, classes = (torch.cat(parts) for parts in zip(*found, strict=True))
        boxes = boxes / boxes.new_tensor(wanted.scale * 2)
        kept = ops.nms(boxes, scores, classes, threshold=wanted.overlap, limit=wanted.limit)
        return Detections(boxes[kept], scores[kept], classes[kept])


def candidates(level: Level, index: int, wanted: Selection) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best boxes of one level and image, in pixels of the input, with their scores and classes."""
    scores = level.logits[index].sigmoid()
    if wanted.classes:
        scores = only(scores, wanted.classes)
    anchors, classes = (scores > wanted.threshold).nonzero(as_tuple=True)
    best = scores[anchors, classes].sort(descending=True, stable=True)
    chosen = best.indices[:CANDIDATES]
    anchors, classes = anchors[chosen], classes[chosen]
    boxes = ops.decode_deltas(level.anchors[anchors], level.deltas[index][anchors], wanted.size)
    filled = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return boxes[filled], best.values[:CANDIDATES][filled], classes[filled]


def only(scores: Tensor, classes: Sequence[int]) -> Tensor:
    """Return the scores, N K, with zero for all but some classes."""
    kept = torch.zeros_like(scores)
    kept[:, list(classes)] = scores[:, list(classes)]
    return kept


class RetinaNet(nn.Module):
    """A backbone, a pyramid and a head."""

    def __init__(self, backbone: Backbone, neck: RetinaPyramid, bbox_head: RetinaHead, family: Family) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.bbox_head = bbox_head
        self.order = family.anchors

    @cached_property
    def bases(self) -> list[Tensor]:
        """Return the anchors around a position, A 4 for each level."""
        return [ops.base_anchors(stride, SCALES, RATIOS, self.order) for stride in STRIDES]

    def forward(self, x: Tensor) -> RetinaPredictions:
        """Return what is predicted for a batch. x: B 3 H W, normalised."""
        levels = [self.level(*each) for each in zip(self.pyramid(x), self.bases, STRIDES, strict=True)]
        return RetinaPredictions((x.shape[-2], x.shape[-1]), levels)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Return the five maps B C H W at `STRIDES` of the padded images. x: B 3 H W, normalised."""
        return self.neck(self.backbone.maps(ops.padded(x)))

    def level(self, features: Tensor, base: Tensor, stride: int) -> Level:
        """Return what is predicted at one level. features: B C H W; base: A 4."""
        logits, deltas = self.bbox_head(features)
        anchors = ops.grid_anchors(base.to(features.device), (features.shape[-2], features.shape[-1]), stride)
        return Level(by_anchor(logits, ANCHORS), by_anchor(deltas, ANCHORS), anchors)


def by_anchor(values: Tensor, anchors: int) -> Tensor:
    """Return the values of each anchor, B (H W A) V in single precision. values: B (A V) H W."""
    return values.permute(0, 2, 3, 1).reshape(len(values), -1, values.shape[1] // anchors).float()
