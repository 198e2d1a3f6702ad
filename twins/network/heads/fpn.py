"""Semantic FPN: a feature pyramid, and a head that sums its levels at stride 4 (`FPN` and `FPNHead` of mmsegmentation).

Source: "Panoptic Feature Pyramid Networks" (arXiv 1901.02446); the layer names are mmsegmentation's.

Legend: B batch · C channels · H W map · K classes
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from twins.network.heads.conv import Conv, ConvNormRelu, resized

DOUBLINGS = (0, 1, 2, 3)  # from the stride of a level (4, 8, 16, 32) to stride 4


class Pyramid(nn.Module):
    """Combine maps into as many maps of one width. Each adds the information of the coarser maps."""

    def __init__(self, dims: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(Conv(dim, channels, 1) for dim in dims)
        self.fpn_convs = nn.ModuleList(Conv(channels, channels, 3) for _ in dims)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return as many maps, B C H W at the same strides. maps: those of the backbone, finest first."""
        levels = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for i in reversed(range(len(levels) - 1)):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], size=levels[i].shape[-2:], mode="nearest")
        return [conv(x) for conv, x in zip(self.fpn_convs, levels, strict=False)]  # a subclass may have more of them


class FpnHead(nn.Module):
    """Convolve and upsample each level to stride 4, add the levels, and classify each position."""

    def __init__(self, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.scale_heads = nn.ModuleList(scale_head(width, channels, doublings) for doublings in DOUBLINGS)
        self.conv_seg = nn.Conv2d(channels, classes, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return logits B K H W at the size of the finest level. levels: four maps B C H W, finest first."""
        heads = iter(self.scale_heads)
        total = next(heads)(levels[0])
        for head, level in zip(heads, levels[1:], strict=True):
            total = total + resized(head(level), like=total)
        return self.conv_seg(total)


def scale_head(width: int, channels: int, doublings: int) -> nn.Sequential:
    """Return a convolution before each doubling, or one convolution alone at stride 4."""
    layers: list[nn.Module] = []
    for i in range(max(1, doublings)):
        layers.append(ConvNormRelu(channels if i else width, channels, 3))
        if doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)
