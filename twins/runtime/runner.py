"""A loaded model on a device: precision, compilation, warm-up, and forward on a list of samples.

Legend: B batch · C channels · H W map
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from twins.card import Card
from twins.runtime.plan import Plan, Precision
from twins.runtime.reduce import REDUCTIONS
from twins.tasks import TASKS
from twins.tasks.sample import Output, Sample
from twins.zoo.loading import Loaded


class Runner:
    """One model, ready to run on one device. Not thread-safe: one thread at a time."""

    def __init__(self, loaded: Loaded, plan: Plan) -> None:
        self.card: Card = loaded.card
        self.device = torch.device(plan.device)
        self.dtype = choose_dtype(self.device, plan.precision)
        network = loaded.network.to(self.device, self.dtype)
        self.network = torch.compile(network) if plan.compile else network
        scale = self.card.normalisation
        self.mean = torch.tensor(scale.mean, device=self.device).mul(255).view(1, 3, 1, 1)
        self.std = torch.tensor(scale.std, device=self.device).mul(255).view(1, 3, 1, 1)

    def forward(self, samples: Sequence[Sample]) -> list[Output]:
        """Return an output per sample, in order. A batch too large for the device runs in halves.

        All samples have one task and one shape. Raises torch.OutOfMemoryError only if one sample alone is too large.
        """
        try:
            return self.forward_at_once(samples)
        except torch.OutOfMemoryError:
            if len(samples) == 1:
                raise
        if self.device.type == "cuda":  # outside the handler, which would keep the failed batch's tensors alive
            torch.cuda.empty_cache()
        half = len(samples) // 2
        return self.forward(samples[:half]) + self.forward(samples[half:])

    @torch.inference_mode()
    def forward_at_once(self, samples: Sequence[Sample]) -> list[Output]:
        """As `forward`, in one batch."""
        pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples]))  # B H W C
        reduction = REDUCTIONS[samples[0].task]
        logits = getattr(self.network, reduction.method)(self.normalise(pixels))
        reduced = reduction.reduce(logits, samples)
        return [Output(tuple(tensor.cpu().numpy() for tensor in tensors)) for tensors in reduced]

    def normalise(self, pixels: Tensor) -> Tensor:
        """pixels: B H W C, uint8; the network's input B C H W on its device."""
        x = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
        return x.sub_(self.mean).div_(self.std).contiguous().to(self.dtype)

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Runs each batch size once, so that no client pays for the first time."""
        blank = TASKS[self.card.task].blank(self.card)
        for size in batch_sizes:
            self.forward([blank] * size)


def choose_device(device: str, place: int = 0) -> str:
    """The wanted device; for `auto` the GPU of that place where there are any, else the CPU."""
    if device != "auto":
        return device
    return f"cuda:{place}" if torch.cuda.is_available() else "cpu"


def choose_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The wanted precision; by default bfloat16 or half on GPUs that have it in hardware, float32 on a CPU."""
    if precision != "auto":
        return DTYPES[precision]
    if device.type != "cuda":
        return torch.float32
    major, minor = torch.cuda.get_device_capability(device)
    if major >= 8:
        return torch.bfloat16
    return torch.float16 if (major, minor) >= (7, 0) else torch.float32


DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
