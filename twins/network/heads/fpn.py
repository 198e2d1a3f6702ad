"""Semantic FPN: a feature pyramid, and a head that sums its levels at stride 4 (`FPN` and `FPNHead` of mmsegmentation).

Source: "Panoptic Feature Pyramid Networks" (arXiv 1901.02446); the layer names are mmsegmentation's.

Legend: B batch · C channels · H W map · K classes
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from twins.network.heads.conv import Conv, ConvNormRelu, resized
from twins.network.variants import Four

DOUBLINGS = (0, 1, 2, 3)  # from a level's stride, 4 to 32, to stride 4


class Pyramid(nn.Module):
    """Four maps of one width, each knowing what the coarser ones saw."""

    def __init__(self, dims: Four, channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(Conv(dim, channels, 1) for dim in dims)
        self.fpn_convs = nn.ModuleList(Conv(channels, channels, 3) for _ in dims)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """maps: the trunk's four, finest first; four of B C H W at the same strides."""
        levels = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for i in (2, 1, 0):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], size=levels[i].shape[-2:], mode="nearest")
        return [conv(x) for conv, x in zip(self.fpn_convs, levels, strict=True)]


class FpnHead(nn.Module):
    """Every level convolved and doubled until it has stride 4, then their sum, then the classes."""

    def __init__(self, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.scale_heads = nn.ModuleList(scale_head(width, channels, doublings) for doublings in DOUBLINGS)
        self.conv_seg = nn.Conv2d(channels, classes, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """levels: four of B C H W, finest first; logits B K H W at the finest level's size."""
        heads = iter(self.scale_heads)
        total = next(heads)(levels[0])
        for head, level in zip(heads, levels[1:], strict=True):
            total = total + resized(head(level), like=total)
        return self.conv_seg(total)


def scale_head(width: int, channels: int, doublings: int) -> nn.Sequential:
    """A convolution before each doubling; one without any at stride 4."""
    layers: list[nn.Module] = []
    for i in range(max(1, doublings)):
        layers.append(ConvNormRelu(channels if i else width, channels, 3))
        if doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)
