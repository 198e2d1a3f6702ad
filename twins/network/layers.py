"""The layers of a Twins backbone.

Parameters have the names of the authors' `gvt.py` and of timm, so that their checkpoints load unchanged.

Legend: B batch · N tokens · C channels · H W map · h heads · d channels per head · w window side · n windows
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twins.network.variants import Family, Subsampling

Size = tuple[int, int]  # (height, width)
CUBIC = -0.75  # the parameter of the bicubic kernel in PyTorch


class PatchEmbed(nn.Module):
    """Cut a map into patches and turn each patch into a token (the paper's patch embedding)."""

    def __init__(self, in_channels: int, dim: int, patch: int, family: Family) -> None:
        super().__init__()
        self.patch, self.rounding = patch, family.rounding
        self.proj = nn.Conv2d(in_channels, dim, patch, patch)
        self.norm = nn.LayerNorm(dim, eps=family.patch_eps)

    def forward(self, x: Tensor) -> tuple[Tensor, Size]:
        """Return tokens B N C and the size of their map. x: B C H W."""
        if self.rounding == "ceil":
            x = F.pad(x, (0, self.patch - 1, 0, self.patch - 1))  # what is too much, the convolution drops
        x = self.proj(x)  # B C H W
        size = (x.shape[2], x.shape[3])
        return self.norm(x.flatten(2).transpose(1, 2)), size


class PositionConv(nn.Module):
    """Encode positions with a depth-wise convolution and zero padding (the paper's PEG; `PosCNN` upstream)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim))

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Return a tensor of the same shape. x: B N C over a map of `size`."""
        grid = to_map(x, size)
        return to_tokens(self.proj(grid) + grid)


class PositionTable(nn.Module):
    """Add a learned embedding of each position (PVT's absolute positions). Other maps get a bicubic resize of it."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, side, side))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Return a tensor of the same shape. x: B N C over a map of `size`."""
        height, width = size
        rows, columns = (cubic_shares(self.weight, self.weight.shape[1], side) for side in (height, width))
        by_column = contiguous((self.weight @ columns.T).transpose(1, 2))  # C W side
        table = contiguous((by_column @ rows.T).transpose(1, 2))  # C H W
        return x + table.flatten(1).T


class WindowAttention(nn.Module):
    """Attention within square windows (the paper's LSA; `GroupAttention` upstream)."""

    def __init__(self, dim: int, heads: int, window: int, family: Family) -> None:
        super().__init__()
        self.heads, self.window, self.edge = heads, window, family.edge
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, size: Size, mask: Tensor | None) -> Tensor:
        """Return a tensor of the same shape. x: B N C over a map of `size`; mask: that of `edge_mask`."""
        batch, channels, w = x.shape[0], x.shape[2], self.window
        height, width = size
        rows, columns = self.window_grid(size)

        grid = F.pad(x.unflatten(1, size), (0, 0, 0, columns * w - width, 0, rows * w - height))  # B H W C
        windows = grid.view(batch, rows, w, columns, w, channels).transpose(2, 3)  # B rows columns w w C
        windows = contiguous(windows).view(batch * rows * columns, w * w, channels)  # (B n) (w w) C

        qkv = self.qkv(windows).unflatten(-1, (3, self.heads, -1))  # (B n) (w w) 3 h d
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B n) h (w w) d: fused kernels need four dimensions
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

        y = self.proj(y.transpose(1, 2).flatten(2))  # (B n) (w w) C
        grid = contiguous(y.view(batch, rows, columns, w, w, channels).transpose(2, 3))  # B rows w columns w C
        return crop(grid.view(batch, rows * w, columns * w, channels), size).flatten(1, 2)

    def window_grid(self, size: Size) -> Size:
        """Return the rows and columns of windows that cover a map of `size`."""
        height, width = size
        return (height + self.window - 1) // self.window, (width + self.window - 1) // self.window

    def edge_mask(self, size: Size, batch: int, device: torch.device) -> Tensor | None:
        """Return which tokens may attend to each other, (B n) 1 (w w) (w w), or None if all of them may.

        The mask applies only where both sides are padded. With one padding of zero, the slice in the upstream code
        selects the whole map, and all tokens are treated as equal. The published results were measured with this
        behaviour, so this code keeps it. An exported network has the mask at every size, since it has no branches.
        """
        w = self.window
        height, width = size
        if self.edge == "padded" or not (is_exporting() or (height % w and width % w)):
            return None
        rows, columns = self.window_grid(size)
        inside_rows = torch.arange(rows * w, device=device) < height
        inside_columns = torch.arange(columns * w, device=device) < width
        inside = inside_rows.view(rows, 1, w, 1) & inside_columns.view(1, columns, 1, w)
        inside = inside.view(rows * columns, w * w)  # n (w w)
        mask = inside[:, None, :, None] == inside[:, None, None, :]  # n 1 (w w) (w w)
        return (mask | inside_rows.all() | inside_columns.all()).repeat(batch, 1, 1, 1)


def separable(dim: int, reduction: int) -> nn.Module:
    """Return a depth-wise strided convolution and a mixture of its channels."""
    return nn.Sequential(nn.Conv2d(dim, dim, reduction, reduction, groups=dim), nn.Conv2d(dim, dim, 1))


SUBSAMPLINGS: dict[Subsampling, Callable[[int, int], nn.Module]] = {
    "convolution": lambda dim, reduction: nn.Conv2d(dim, dim, reduction, reduction),
    "separable": separable,
    "average": lambda _, reduction: nn.AvgPool2d(reduction),
}
"""The functions of the paper's table 6, by channels and reduction. The paper and the released code use the first."""


class SubsampledAttention(nn.Module):
    """Attention of every token to a sub-sampled map (the paper's GSA; `Attention` upstream).

    `sr` is the upstream name of the sub-sampling, a convolution there. It drops the remaining rows and columns.
    """

    def __init__(
        self, dim: int, heads: int, reduction: int, family: Family, subsampling: Subsampling = "convolution"
    ) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        if reduction > 1:
            self.sr = SUBSAMPLINGS[subsampling](dim, reduction)
            self.norm = nn.LayerNorm(dim, eps=family.reduction_eps)

    def forward(self, x: Tensor, size: Size, _: None) -> Tensor:
        """Return a tensor of the same shape. x: B N C over a map of `size`."""
        keys = self.norm(to_tokens(self.sr(to_map(x, size)))) if self.reduction > 1 else x
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B h N d
        kv = self.kv(keys).unflatten(-1, (2, self.heads, -1))  # B M 2 h d
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)  # B h M d
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).flatten(2))

    def edge_mask(self, size: Size, batch: int, device: torch.device) -> None:
        """Return None: all tokens may attend to each key."""


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape. x: … C."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and an MLP, each with a norm before it and a residual connection around it."""

    def __init__(
        self, dim: int, mlp_ratio: int, attention: "WindowAttention | SubsampledAttention", family: Family
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=family.eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=family.eps)
        self.mlp = Mlp(dim, mlp_ratio * dim)

    def forward(self, x: Tensor, size: Size, mask: Tensor | None) -> Tensor:
        """Return a tensor of the same shape. x: B N C over a map of `size`; mask: that of the stage's windows."""
        x = x + self.attn(self.norm1(x), size, mask)
        return x + self.mlp(self.norm2(x))


def cubic_shares(like: Tensor, old: int, new: int) -> Tensor:
    """Return the share of each of `old` values in each of `new` ones, new × old, as PyTorch's bicubic resize has them.

    Products with such matrices can be exported for any size. At the old size, the matrix is the identity.
    """
    at = (torch.arange(new, device=like.device, dtype=torch.float32) + 0.5) * old / new - 0.5
    first = at.floor()
    fraction, index = (at - first)[:, None], first[:, None] + torch.arange(-1, 3, device=like.device)  # new 4
    distance = (fraction - torch.arange(-1, 3, device=like.device)).abs()
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    weights = torch.where(distance <= 1, near, far)
    taken = index.clamp(0, old - 1)[:, :, None] == torch.arange(old, device=like.device)  # new 4 old
    return (weights[:, :, None] * taken).sum(dim=1).to(like.dtype)


def is_exporting() -> bool:
    """Return whether this call records a graph for sizes other than those of its input."""
    return bool(torch.jit.is_tracing() or torch.compiler.is_exporting())  # type: ignore[attr-defined, unused-ignore]


def contiguous(x: Tensor) -> Tensor:
    """Return a copy in the order of its dimensions; unlike `Tensor.contiguous`, it does not depend on the sizes."""
    return x.clone(memory_format=torch.contiguous_format)


def crop(grid: Tensor, size: Size) -> Tensor:
    """Return the upper left part of `size` of a grid, B H W C."""
    height, width = size
    if torch.compiler.is_exporting():  # a slice would be contiguous or not by size, and an exported program has one way
        return F.pad(grid, (0, 0, 0, width - grid.shape[2], 0, height - grid.shape[1]))
    return grid[:, :height, :width]


def to_map(x: Tensor, size: Size) -> Tensor:
    """Reshape tokens B N C to a map B C H W."""
    grid = x.transpose(1, 2).unflatten(2, size)
    return contiguous(grid) if torch.compiler.is_exporting() else grid  # a convolution would ask for its layout


def to_tokens(x: Tensor) -> Tensor:
    """Reshape a map B C H W to tokens B N C."""
    return x.flatten(2).transpose(1, 2)
