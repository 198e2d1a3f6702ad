"""A network that torch.compile compiles for images of one size, by batch size.

Legend: B batch · C channels · H W image
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from twins.errors import BackendMissing

MAX_PROGRAMS = 256
"""How many programs PyTorch keeps of one function, which all models share. It compiles no more after that."""


class CompiledNetwork:
    """A function of a batch, compiled for each batch size in turn. A smaller batch is padded to such a size."""

    def __init__(self, function: Callable[[Tensor], Tensor], image: tuple[int, int, int]) -> None:
        """Compile for images of this shape, C H W. It happens at the first batch of a size."""
        torch._dynamo.config.recompile_limit = MAX_PROGRAMS
        torch._dynamo.config.accumulated_recompile_limit = MAX_PROGRAMS
        self.function = torch.compile(function, dynamic=False)
        self.image = image
        self.sizes: list[int] = []

    def fits(self, x: Tensor) -> bool:
        """Return whether a batch has images of the right shape."""
        return x.shape[1:] == self.image

    def __call__(self, x: Tensor) -> Tensor:
        """Return the function's result, B …. Raise BackendMissing if it cannot be compiled. x: B C H W."""
        size = self.padded(len(x))
        with compiler_errors():
            return self.function(F.pad(x, (0, 0) * 3 + (0, size - len(x))))[: len(x)]

    def padded(self, count: int) -> int:
        """Return the size to which a batch is padded: that of a program, or its own if it is larger than all."""
        index = bisect_left(self.sizes, count)
        if index == len(self.sizes):
            insort(self.sizes, count)
        return self.sizes[index]


@contextmanager
def compiler_errors() -> Iterator[None]:
    """Raise an error of the compiler as BackendMissing."""
    try:
        yield
    except torch._dynamo.exc.BackendCompilerFailed as error:
        raise BackendMissing(
            f"torch.compile fails: {str(error).strip().splitlines()[0]}. It needs a C++ compiler and Python's headers; "
            "install them (on Debian: g++ and python3-dev), or use --backend torch"
        ) from error
