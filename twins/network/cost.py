"""What a network costs: parameters, multiply-adds and activations, counted without weights on the meta device.

Multiply-adds are those of convolutions, linear layers and the products of attention, as in the paper's column "FLOPs".
Activations are the values in the outputs of convolutions and linear layers, as in "Designing Network Design Spaces"
(arXiv 2003.13678).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True)
class Cost:
    """The cost of one image."""

    parameters: int
    multiply_adds: int
    activations: int


class Activations:
    """The number of values that the layers of a network return, while it is entered."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.count = network, 0
        self.handles: list[RemovableHandle] = []

    def __enter__(self) -> "Activations":
        layers = (each for each in self.network.modules() if isinstance(each, LAYERS))
        self.handles = [each.register_forward_hook(self.add) for each in layers]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def add(self, _: nn.Module, __: object, output: Tensor) -> None:
        """Count the output of a layer."""
        self.count += output.numel()


def measure(network: nn.Module, size: tuple[int, int], run: Callable[[Tensor], object] | None = None) -> Cost:
    """Return the cost of an image of `size` (height, width). The network is on the meta device.

    `run` is called with the image, 1 3 H W, if that is not to be the network itself.
    """
    x = torch.zeros(1, 3, *size, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as flops, Activations(network) as activations:
        (run or network)(x)
    parameters = sum(each.numel() for each in network.parameters())
    return Cost(parameters, flops.get_total_flops() // 2, activations.count)
