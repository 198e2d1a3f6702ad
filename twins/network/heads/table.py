"""The heads, as data: which parameters tell that a checkpoint has one, and the network it makes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from twins.card import HeadName
from twins.network.backbone import Trunk
from twins.network.heads.classify import Classifier
from twins.network.heads.fpn import FpnHead, Pyramid
from twins.network.heads.segment import Segmenter
from twins.network.heads.upernet import UperHead
from twins.network.variants import Family, Variant

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Head:
    """One kind of head. The keys are parameters with as many rows as the network has channels or classes there."""

    recognised_by: str  # a key that checkpoints with this head alone have
    classes_in: str
    build: Callable[[Variant, Family, State], nn.Module]  # from the weights' shapes; raises KeyError


def rows(state: State, key: str) -> int:
    """The first dimension of a parameter."""
    return state[key].shape[0]


def linear(variant: Variant, family: Family, state: State) -> nn.Module:
    """One linear layer on the average of the last map."""
    return Classifier(variant, family, rows(state, "head.weight"))


def fpn(variant: Variant, family: Family, state: State) -> nn.Module:
    """Semantic FPN: in the published models 256 channels in the pyramid and 128 in the head."""
    width = rows(state, "neck.lateral_convs.0.conv.weight")
    channels = rows(state, "decode_head.scale_heads.0.0.conv.weight")
    head = FpnHead(width, channels, rows(state, "decode_head.conv_seg.weight"))
    return Segmenter(Trunk(variant, family), Pyramid(variant.dims, width), head)


def upernet(variant: Variant, family: Family, state: State) -> nn.Module:
    """UPerNet: in the published models 512 channels."""
    channels = rows(state, "decode_head.fpn_bottleneck.conv.weight")
    head = UperHead(variant.dims, channels, rows(state, "decode_head.conv_seg.weight"))
    return Segmenter(Trunk(variant, family), nn.Identity(), head)


HEADS: dict[HeadName, Head] = {
    "linear": Head("head.weight", "head.weight", linear),
    "fpn": Head("decode_head.scale_heads.0.0.conv.weight", "decode_head.conv_seg.weight", fpn),
    "upernet": Head("decode_head.fpn_bottleneck.conv.weight", "decode_head.conv_seg.weight", upernet),
}
