"""A network as a graph: with all its outputs, for any batch and any image size."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

EXAMPLE = (2, 3, 96, 160)  # the input with which a graph is recorded; it holds for every other size


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
