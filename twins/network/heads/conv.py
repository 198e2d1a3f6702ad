"""The convolution layers of the dense heads (`ConvModule` of mmcv), and their batch norm folding.

Legend: B batch · C channels in · D channels out · H W map
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5  # epsilon of the batch norms


class BatchNorm(nn.Module):
    """Batch norm with frozen statistics. Its state has no batch counter, since only some files contain one."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape. x: B D H W."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=EPS)


class ConvNormRelu(nn.Module):
    """A convolution without bias, batch norm, and a ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
        self.bn: nn.Module = BatchNorm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return B D H W. x: B C H W."""
        return F.relu(self.bn(self.conv(x)))

    def fold(self) -> None:
        """Fold the batch norm into the convolution. The results change only by rounding in single precision."""
        if not isinstance(self.bn, BatchNorm):
            return
        mean, variance = self.bn.running_mean.double(), self.bn.running_var.double()
        scale = self.bn.weight.double() / (variance + EPS).sqrt()  # D
        weight, bias = self.conv.weight.double() * scale.view(-1, 1, 1, 1), self.bn.bias.double() - mean * scale
        self.conv.weight = nn.Parameter(weight.float())
        self.conv.bias = nn.Parameter(bias.float())
        self.bn = nn.Identity()


class Conv(nn.Module):
    """A convolution with bias, under the parameter name that mmcv's wrapper gives it."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return B D H W. x: B C H W."""
        return self.conv(x)


def fold(network: nn.Module) -> None:
    """Fold every batch norm in `network` that follows a convolution."""
    for module in network.modules():
        if isinstance(module, ConvNormRelu):
            module.fold()


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Return x (B C H W), resized bilinearly to the map size of `like` without aligned corners."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
