"""A network as a program of torch.export that holds for any batch and any image size.

Legend: B batch · C channels · H W image
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as assumptions

from twins.card import MIN_SIDE, Normalisation

LARGEST_BATCH, LARGEST_SIDE = 1024, 16_384
EXAMPLE_SIZE = (480, 736)  # no map of a network has a side of 1 at this size, which would be taken for a constant


class FromPixels(nn.Module):
    """A network with the normalisation before it."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, scale: Normalisation) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(scale.mean).mul(255).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(scale.std).mul(255).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the network. pixels: B H W 3, uint8, RGB."""
        x = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        found: tuple[Tensor, ...] = self.network((x - self.mean) / self.std)
        return found


def record(network: nn.Module, *, from_pixels: bool) -> ExportedProgram:
    """Return the program of a network. Its input is B H W 3, uint8, if `from_pixels`, else B 3 H W, float32."""
    height = 1 if from_pixels else 2
    sides = {height + i: Dim(name, min=MIN_SIDE, max=LARGEST_SIDE) for i, name in enumerate(("height", "width"))}
    dimensions = {0: Dim("batch", min=1, max=LARGEST_BATCH), **sides}
    with any_size():
        return torch.export.export(network, example(from_pixels=from_pixels), dynamic_shapes=(dimensions,))


def example(*, from_pixels: bool) -> tuple[Tensor]:
    """Return an input with which a network is recorded."""
    if from_pixels:
        return (torch.zeros((2, *EXAMPLE_SIZE, 3), dtype=torch.uint8),)
    return (torch.zeros((2, 3, *EXAMPLE_SIZE)),)


@contextmanager
def any_size() -> Iterator[None]:
    """Make PyTorch assume nothing about sizes, neither that they are not 1 nor what oneDNN would do at a size."""
    settings = assumptions.patch(backed_size_oblivious=True)  # type: ignore[attr-defined, unused-ignore]
    with torch.no_grad(), settings, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about PyTorch's own code
        with torch.backends.mkldnn.flags(enabled=False):
            yield
