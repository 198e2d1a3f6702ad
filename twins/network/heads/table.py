"""The heads as data: the parameter that identifies the head of a checkpoint, and how to build its network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from twins.card import HeadName
from twins.network.backbone import Backbone
from twins.network.heads.classify import Classifier
from twins.network.heads.fpn import FpnHead, Pyramid
from twins.network.heads.segment import Segmenter
from twins.network.heads.upernet import UperHead
from twins.network.variants import Family, Variant

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Head:
    """One kind of head. Both keys are parameter names."""

    recognised_by: str  # only checkpoints with this head have this parameter
    classes_in: str  # the first dimension of this parameter is the number of classes
    build: Callable[[Variant, Family, State], nn.Module]  # reads sizes from the shapes of the weights; raises KeyError


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


HEADS: dict[HeadName, Head] = {
    "linear": Head("head.weight", "head.weight", linear),
    "fpn": Head("decode_head.scale_heads.0.0.conv.weight", "decode_head.conv_seg.weight", fpn),
    "upernet": Head("decode_head.fpn_bottleneck.conv.weight", "decode_head.conv_seg.weight", upernet),
}
