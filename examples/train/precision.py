"""Mixed precision on GPUs and on processors with bfloat16, where a training step takes two thirds of the time.

Linear layers and convolutions run in bfloat16. Losses run in float32, and so does attention, whose backward pass is
slower in bfloat16.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

BFLOAT16 = "avx512_bf16"  # the name of the processor capability

Output = TypeVar("Output", Tensor, tuple[Tensor, ...])


class AttentionInFloat(TorchFunctionMode):
    """Run attention in float32, whatever the type of its inputs."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch; convert the inputs of attention to float32."""
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            return func(*(each.float() for each in args), **(kwargs or {}))


def mixed(network: Callable[[Tensor], Output], x: Tensor) -> Output:
    """Return network(x) in float32, computed in bfloat16 if the device supports it."""
    enabled = x.is_cuda or bool(torch.cpu.get_capabilities().get(BFLOAT16))
    attention = nullcontext() if x.is_cuda else AttentionInFloat()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=enabled), attention:
        output = network(x)
    return output.float() if isinstance(output, Tensor) else tuple(each.float() for each in output)
