"""The heads as data: the parameter that identifies the head of a checkpoint, and how to build its network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from twins.card import HeadName
from twins.network.backbone import Backbone
from twins.network.heads.classify import Classifier
from twins.network.heads.fpn import FpnHead, Pyramid
from twins.network.heads.mask_rcnn import BoxHead, MaskHead, MaskRcnn, RoiHead, RpnHead, RpnPyramid
from twins.network.heads.retinanet import ANCHORS, RetinaHead, RetinaNet, RetinaPyramid
from twins.network.heads.segment import Segmenter
from twins.network.heads.upernet import UperHead
from twins.network.variants import DENSE_STAGES, STAGES, Family, Variant

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Head:
    """One kind of head. Both keys are parameter names."""

    recognised_by: str  # only checkpoints with this head have this parameter
    classes_in: str  # this parameter has rows for each class
    build: Callable[[Variant, Family, State], nn.Module]  # reads sizes from the shapes of the weights; raises KeyError
    per_class: int = 1  # rows of that parameter for each class
    stages: tuple[int, ...] = (DENSE_STAGES,)  # how many the backbone may have

    def classes(self, state: State) -> int:
        """Return the number of classes. Raise KeyError."""
        return rows(state, self.classes_in) // self.per_class


def rows(state: State, key: str) -> int:
    """Return the first dimension of a parameter."""
    return state[key].shape[0]


def linear(variant: Variant, family: Family, state: State) -> nn.Module:
    """Build a classifier: one linear layer on the mean of the last map."""
    return Classifier(variant, family, rows(state, "head.weight"))


def fpn(variant: Variant, family: Family, state: State) -> nn.Module:
    """Build Semantic FPN. The published models have 256 channels in the pyramid and 128 in the head."""
    width = rows(state, "neck.lateral_convs.0.conv.weight")
    channels = rows(state, "decode_head.scale_heads.0.0.conv.weight")
    head = FpnHead(width, channels, rows(state, "decode_head.conv_seg.weight"))
    return Segmenter(Backbone(variant, family), Pyramid(variant.dims, width), head)


def upernet(variant: Variant, family: Family, state: State) -> nn.Module:
    """Build UPerNet. The published models have 512 channels."""
    channels = rows(state, "decode_head.fpn_bottleneck.conv.weight")
    head = UperHead(variant.dims, channels, rows(state, "decode_head.conv_seg.weight"))
    return Segmenter(Backbone(variant, family), nn.Identity(), head)


def retinanet(variant: Variant, family: Family, state: State) -> nn.Module:
    """Build RetinaNet. The published models have 256 channels in the pyramid."""
    width = rows(state, "neck.lateral_convs.0.conv.weight")
    neck = RetinaPyramid(variant.dims, width, relu=family.relu_before_p7)
    head = RetinaHead(width, rows(state, "bbox_head.retina_cls.weight") // ANCHORS)
    return RetinaNet(Backbone(variant, family), neck, head, family)


def mask_rcnn(variant: Variant, family: Family, state: State) -> nn.Module:
    """Build Mask R-CNN. The published models have 256 channels in the pyramid and 1024 in the linear layers."""
    width = rows(state, "neck.lateral_convs.0.conv.weight")
    hidden = rows(state, "roi_head.bbox_head.shared_fcs.0.weight")
    classes = rows(state, "roi_head.mask_head.conv_logits.weight")
    roi_head = RoiHead(BoxHead(width, hidden, classes), MaskHead(width, classes))
    return MaskRcnn(Backbone(variant, family), RpnPyramid(variant.dims, width), RpnHead(width), roi_head)


HEADS: dict[HeadName, Head] = {
    "linear": Head("head.weight", "head.weight", linear, stages=STAGES),
    "fpn": Head("decode_head.scale_heads.0.0.conv.weight", "decode_head.conv_seg.weight", fpn),
    "upernet": Head("decode_head.fpn_bottleneck.conv.weight", "decode_head.conv_seg.weight", upernet),
    "retinanet": Head("bbox_head.retina_cls.weight", "bbox_head.retina_cls.weight", retinanet, per_class=ANCHORS),
    "maskrcnn": Head("roi_head.bbox_head.fc_cls.weight", "roi_head.mask_head.conv_logits.weight", mask_rcnn),
}
