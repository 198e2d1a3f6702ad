"""A network as a graph: with all its outputs, for any batch and any image size."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twins.errors import ExportFailed
from twins.runtime.agreement import difference

EXAMPLE = (2, 3, 96, 160)  # the input with which a graph is recorded; it holds for every other size
TOLERANCE = 1e-4  # of the deviation of an output

Run = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]


class EveryOutput(nn.Module):
    """A network that returns all its outputs at once, in the order of `names`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        with torch.inference_mode():
            self.names: Sequence[str] = tuple(self.outputs(torch.zeros(EXAMPLE)))

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """Return the outputs by the names of the methods that return one each. x: B 3 H W, normalised."""
        found: dict[str, Tensor] = self.network.outputs(x)  # type: ignore[operator]
        return found

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in order. x: B 3 H W, normalised."""
        return tuple(self.outputs(x).values())


def trace(network: EveryOutput) -> torch.jit.ScriptModule:
    """Return the graph of a network. Sizes are computed in the graph, so that it holds for all of them."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, and warns about sizes, which tests check
        traced: torch.jit.ScriptModule = torch.jit.trace(network, torch.zeros(EXAMPLE), check_trace=False)
    return traced


def examples() -> list[Tensor]:
    """Return batches of noise and of blank images, in sizes at which windows are padded and are not."""
    noise = torch.randn(EXAMPLE, generator=torch.Generator().manual_seed(0))
    blank = torch.zeros(1, 3, 64, 70)  # another size, at which windows are padded
    whole = torch.randn((1, 3, 112, 112), generator=torch.Generator().manual_seed(1))  # here most of them are not
    return [noise, blank, whole]


def check(network: EveryOutput, run: Run, *, images: Sequence[Tensor] = (), tolerance: float = TOLERANCE) -> None:
    """Compare the outputs of an exported network with those of PyTorch, on the given batches or on `examples`.

    `run` returns the outputs of the exported network in order. Raise ExportFailed.
    """
    for batch in images or examples():
        with torch.inference_mode():
            expected = [output.numpy() for output in network(batch)]
        for name, wanted, found in zip(network.names, expected, run(batch.numpy()), strict=True):
            off_by = difference(wanted, found)
            if not off_by <= tolerance:
                raise ExportFailed(
                    f"the exported network does not give the answers of PyTorch: {name} is off by {off_by:.1e} of the "
                    "deviation. Use --backend torch"
                )
