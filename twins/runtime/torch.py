"""The PyTorch backend: precision, compilation, normalisation and the forward pass of a batch.

Legend: B batch · C channels · H W map
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twins.card import Card
from twins.errors import DeviceLost, DeviceMissing, DeviceOutOfMemory, NonFiniteOutput
from twins.running import BackendName, Precision
from twins.runtime.backend import Device, DeviceKind, ErrorTable, Finished, InFlight, Model, device_error
from twins.runtime.compiled import CompiledNetwork
from twins.runtime.cuda.streams import CudaStreams
from twins.runtime.outputs import outputs
from twins.runtime.plan import Plan
from twins.runtime.reduce import REDUCTIONS
from twins.tasks import TASKS
from twins.tasks.sample import Output, Sample
from twins.zoo.loading import Loaded, load
from twins.zoo.models import ModelReference

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

DEVICE_ERRORS: ErrorTable = (
    (torch.OutOfMemoryError, "", DeviceOutOfMemory),
    (MemoryError, "", DeviceOutOfMemory),
    (
        RuntimeError,
        "CUDA error: out of memory",
        DeviceOutOfMemory,
    ),  # outside PyTorch's allocator: the device still works
    (RuntimeError, r"CU(BLAS|BLASLT|DNN|SOLVER)_STATUS_\w*ALLOC\w*_FAILED", DeviceOutOfMemory),
    (RuntimeError, r"CU(BLAS|BLASLT|DNN|SOLVER)_STATUS_NOT_INITIALIZED", DeviceOutOfMemory),  # no room for the handle
    (
        RuntimeError,
        "[Uu]nable to find an? (engine|valid cuDNN algorithm)",
        DeviceOutOfMemory,
    ),  # none fits its workspace
    (RuntimeError, "DefaultCPUAllocator: (can't allocate|not enough) memory", DeviceOutOfMemory),
    (torch.AcceleratorError, "", DeviceLost),
)
"""The errors of PyTorch by type and message, with their neutral counterparts. The first match applies."""


class TorchBackend:
    """PyTorch on one device."""

    def __init__(self, plan: Plan) -> None:
        """Raise DeviceMissing unless the device is there."""
        check_device(plan.device)
        kind: DeviceKind = "cuda" if torch.device(plan.device).type == "cuda" else "cpu"
        if kind == "cpu" and plan.threads:
            torch.set_num_threads(plan.threads)
        self.plan = plan
        self.name: BackendName = "compile" if plan.backend == "compile" else "torch"
        if kind == "cpu":
            self.streams, self.device = None, Device(plan.device, kind, 1)
        else:
            torch.cuda.set_device(plan.device)  # page-locked memory belongs to the current device
            self.streams = CudaStreams(torch.device(plan.device))
            self.device = Device(plan.device, kind, torch.cuda.device_count(), in_flight=2)

    def load(self, reference: ModelReference) -> Model:
        """Load a model onto the device. Raise TwinsError."""
        from twins.runtime.cuda.model import StreamedModel  # late: it imports this module

        found = load(reference)
        loaded = replace(found, card=replace(found.card, backend=self.name))
        with device_errors():
            model = TorchModel(loaded, self.plan)
            return StreamedModel(model, self.streams) if self.streams else model

    def memory_bytes(self) -> Mapping[str, int]:
        """Return what tensors use (`allocated`) and what PyTorch holds of the device (`reserved`)."""
        if self.device.kind != "cuda":
            return {}
        return {
            "allocated": torch.cuda.memory_allocated(self.device.name),
            "reserved": torch.cuda.memory_reserved(self.device.name),
        }


class TorchModel:
    """One network on one device."""

    def __init__(self, loaded: Loaded, plan: Plan) -> None:
        self.card: Card = loaded.card
        self.device = torch.device(plan.device)
        self.dtype = choose_dtype(self.device, plan.precision)
        self.network = loaded.network.to(self.device, self.dtype)
        self.compiled: CompiledNetwork | None = None
        if plan.backend == "compile" and REDUCTIONS[self.card.task].one_tensor:
            self.compiled = CompiledNetwork(self.network, (3, *self.card.geometry.usual_size))
        scale = self.card.normalisation
        self.mean = torch.tensor(scale.mean, device=self.device).mul(255).view(1, 3, 1, 1)
        self.std = torch.tensor(scale.std, device=self.device).mul(255).view(1, 3, 1, 1)

    def warm_up(self, batch_size: int) -> None:
        """Run a blank batch of that size. Raise DeviceError."""
        self.run([TASKS[self.card.task].blank(self.card)] * batch_size)

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output or an error for each sample, in order; all samples have one layout.

        Raise DeviceOutOfMemory if the batch is too large for the device, and DeviceLost.
        """
        with device_errors(), torch.inference_mode():
            pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples]))
            reduction = REDUCTIONS[samples[0].task]
            found = self.forward(pixels, samples[0].task)
            reduced = reduction.reduce(found, samples)
            arrays = [tuple(tensor.cpu().numpy() for tensor in tensors) for tensors in reduced]
            return outputs(arrays, reduction.finite(found).tolist())

    def submit(self, samples: Sequence[Sample]) -> InFlight:
        """Run a batch as `run` does."""
        return Finished(self.run(samples))

    def forward(self, pixels: Tensor, task: str) -> Any:
        """Return what the network's method for a task returns. pixels: a batch of the pixels of samples."""
        x = self.normalise(pixels) if pixels.dtype == torch.uint8 else pixels.to(self.device, self.dtype)
        if self.compiled and task == self.card.task and self.compiled.fits(x):
            return self.compiled(x)
        return getattr(self.network, REDUCTIONS[task].method)(x)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return the input of the network on its device, B C H W. pixels: B H W C, uint8."""
        x = pixels.to(self.device).permute(0, 3, 1, 2).float()
        return x.sub_(self.mean).div_(self.std).contiguous().to(self.dtype)

    def unload(self) -> None:
        """Free the network's memory. The model cannot run after that."""
        del self.network, self.compiled
        free_cache()


@contextmanager
def device_errors() -> Iterator[None]:
    """Raise PyTorch's errors about the device as DeviceError; others pass unchanged."""
    try:
        yield
    except Exception as error:
        failure = device_error(error, DEVICE_ERRORS)
        if failure is None:
            raise
    else:
        return
    # Outside the handler: the traceback of the original error keeps the tensors of the failed batch alive.
    free_cache()
    raise failure


def free_cache() -> None:
    """Return the memory that PyTorch caches to the device."""
    if torch.cuda.is_initialized():
        with suppress(RuntimeError):  # of a lost device
            torch.cuda.empty_cache()


def check_device(device: str) -> None:
    """Raise DeviceMissing unless the device is there."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # PyTorch raises either
        raise DeviceMissing(f"there is no device {device} on this machine; use auto, cpu, cuda or cuda:N") from error


def choose_device(device: str, index: int = 0) -> str:
    """Return the device; for `auto` the GPU of that index if the machine has any, else the CPU."""
    if device != "auto":
        return device
    return f"cuda:{index}" if torch.cuda.is_available() else "cpu"


def choose_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """Return the precision; for `auto` bfloat16 or half on GPUs that have it in hardware, float32 elsewhere."""
    if precision != "auto":
        return DTYPES[precision]
    if device.type != "cuda":
        return torch.float32
    major, minor = torch.cuda.get_device_capability(device)
    if major >= 8:
        return torch.bfloat16
    return torch.float16 if (major, minor) >= (7, 0) else torch.float32
