"""What a network costs: parameters, multiply-adds and activations, counted without weights on the meta device.

Multiply-adds are those of convolutions, linear layers and the products of attention, as in the paper's column "FLOPs".
Activations are the values in the outputs of convolutions and linear layers, as in "Designing Network Design Spaces"
(arXiv 2003.13678).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from twins.card import HeadName
from twins.network.layers import SubsampledAttention, WindowAttention
from twins.network.published import BUILDERS
from twins.network.variants import Family, Variant

aten = torch.ops.aten
LAYERS = (aten.convolution, aten.addmm, aten.mm)  # what convolutions and linear layers are on the meta device
ATTENTION = (aten.bmm,)  # what attention is there
IS_TRANSPOSED = 6  # the index of this argument of a convolution


@dataclass(frozen=True)
class Cost:
    """The cost of one image."""

    parameters: int
    multiply_adds: int
    activations: int
    attention: int  # the share of the multiply-adds in the products of queries, keys and values
    transposed: int  # the share in transposed convolutions


class Counter(TorchDispatchMode):
    """Counts the operations while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = self.activations = self.attention = self.transposed = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation, and count it."""
        output = func(*args, **(kwargs or {}))
        operation = func.overloadpacket
        if operation in flop_registry:
            count = flop_registry[operation](*args, **(kwargs or {}), out_val=output) // 2  # a multiply-add is two
            self.multiply_adds += count
            self.attention += count * (operation in ATTENTION)
            self.transposed += count * bool(operation is aten.convolution and args[IS_TRANSPOSED])
            self.activations += output.numel() * (operation in LAYERS)
        return output


def count(network: nn.Module, run: Callable[[], object]) -> Cost:
    """Return the cost of what `run` does with a network on the meta device."""
    counter = Counter()
    with torch.no_grad(), counter:  # in inference mode, layers are not decomposed into the operations that are counted
        run()
    parameters = sum(each.numel() for each in network.parameters())
    return Cost(parameters, counter.multiply_adds, counter.activations, counter.attention, counter.transposed)


def pair_cost(side: int, window: int, dim: int = 64, heads: int = 2) -> Cost:
    """Return the cost of local attention and global attention on a map of side × side.

    `window` is both the side of the windows and the reduction of the keys, as in section 3.2 of the paper.
    """
    with torch.device("meta"):
        local = WindowAttention(dim, heads, window, Family())
        whole = SubsampledAttention(dim, heads, window, Family())
        tokens = torch.zeros(1, side * side, dim)
    size = (side, side)
    return count(nn.ModuleList([local, whole]), lambda: whole(local(tokens, size, None), size, None))


def pair_formula(side: int, window: int, dim: int = 64) -> int:
    """Return the multiply-adds of attention by the paper's formula, which is exact if the window divides the side.

    Each token attends to the window² tokens of its window, and to one key for each window of the map.
    """
    return 2 * side**2 * dim * (window**2 + side**2 // window**2)


def cost(variant: Variant, head: HeadName, size: tuple[int, int]) -> Cost:
    """Return the cost of a published network for an image of `size` (height, width)."""
    build, run = BUILDERS[head]
    network, x = build(variant), torch.zeros(1, 3, *size, device="meta")
    return count(network, lambda: run(network, x))
