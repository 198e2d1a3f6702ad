"""UPerNet: a feature pyramid with pyramid pooling at its coarsest level (`UPerHead` of mmsegmentation).

Source: "Unified Perceptual Parsing for Scene Understanding" (arXiv 1807.10221); the layer names are mmsegmentation's.

Legend: B batch · C channels · H W map · K classes
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twins.network.heads.conv import ConvNormRelu, resized
from twins.network.layers import contiguous
from twins.network.variants import PerStage

POOLS = (1, 2, 3, 6)  # sides of the grids to which the coarsest map is pooled


class GridMean(nn.Module):
    """The means over the cells of a grid, as `nn.AdaptiveAvgPool2d` has them, as products that can be exported."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Return B C side side. x: B C H W."""
        rows, columns = self.shares(x.shape[2], x), self.shares(x.shape[3], x)
        by_column = contiguous(F.linear(x, columns).transpose(2, 3))  # B C side H
        return contiguous(F.linear(by_column, rows).transpose(2, 3))

    def shares(self, size: int, like: Tensor) -> Tensor:
        """Return the share of each of `size` positions in the mean of each cell, side × size."""
        cell = torch.arange(self.side, device=like.device)[:, None]
        position = torch.arange(size, device=like.device)
        first, end = cell * size // self.side, ((cell + 1) * size + self.side - 1) // self.side
        inside = ((position >= first) & (position < end)).to(like.dtype)
        return inside / inside.sum(dim=1, keepdim=True)


class UperHead(nn.Module):
    """Pool the coarsest map, build a pyramid from it, and classify all levels together at stride 4."""

    def __init__(self, dims: PerStage, channels: int, classes: int) -> None:
        super().__init__()
        *fine, coarsest = dims
        self.psp_modules = nn.ModuleList(
            nn.Sequential(GridMean(side), ConvNormRelu(coarsest, channels, 1)) for side in POOLS
        )
        self.bottleneck = ConvNormRelu(coarsest + len(POOLS) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvNormRelu(dim, channels, 1) for dim in fine)
        self.fpn_convs = nn.ModuleList(ConvNormRelu(channels, channels, 3) for _ in fine)
        self.fpn_bottleneck = ConvNormRelu(len(dims) * channels, channels, 3)
        self.conv_seg = nn.Conv2d(channels, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits B K H W at the size of the finest map. maps: the four maps of the backbone, finest first."""
        *fine, coarsest = maps
        levels = [conv(x) for conv, x in zip(self.lateral_convs, fine, strict=True)]
        levels.append(self.pool(coarsest))
        for i in (2, 1, 0):
            levels[i] = levels[i] + resized(levels[i + 1], like=levels[i])
        levels[:3] = [conv(x) for conv, x in zip(self.fpn_convs, levels[:3], strict=True)]
        together = torch.cat([levels[0], *(resized(x, like=levels[0]) for x in levels[1:])], dim=1)  # B 4C H W
        return self.conv_seg(self.fpn_bottleneck(together))

    def pool(self, x: Tensor) -> Tensor:
        """Return B C H W: the coarsest map x, concatenated with its averages over grids and convolved."""
        return self.bottleneck(torch.cat([x, *(resized(module(x), like=x) for module in self.psp_modules)], dim=1))
