"""The streams of a GPU: one each for uploads, forwards and downloads, so that those of successive batches overlap."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor


class Event(Protocol):
    """A point in the work of a stream."""

    def synchronize(self) -> None:
        """Wait until the device has reached it."""


class Graph(Protocol):
    """The kernels of a function, recorded with the addresses of their tensors."""

    def replay(self) -> None:
        """Submit them all to the stream of forwards."""


class Streams(Protocol):
    """What this package uses of a device, in the device's thread.

    Other threads use `Event.synchronize`, and `finish_loading` when they have loaded a model.
    """

    device: torch.device

    def host_buffer(self, size: int) -> Tensor:
        """Return host memory of this many bytes, uint8, that the device copies from and to by itself."""

    def upload(self, host: Tensor) -> Tensor:
        """Start to copy a tensor to the device, and return the copy. Forwards that are submitted later wait for it."""

    def forward(self) -> AbstractContextManager[None]:
        """Submit the operations inside to the stream of forwards."""

    def capture(self, function: Callable[[], Tensor]) -> tuple[Graph, Tensor]:
        """Record the kernels of a function inside `forward`, without running them.

        Return also the tensor that will have its result. Raise RuntimeError if something in it cannot be recorded.
        """

    def download(self, source: Tensor, host: Tensor) -> Event:
        """Start to copy a result to host memory when the forwards before are done. Return the end of the copy."""

    def finish_loading(self) -> None:
        """Wait for what the calling thread has submitted to its own stream. Forwards may be recorded meanwhile."""

    def settle(self) -> None:
        """Wait for the forwards. Nothing is recorded meanwhile."""


class CudaStreams:
    """The streams of an NVIDIA GPU.

    PyTorch reuses the memory of a tensor in the order of the stream that allocated it, so each use in another stream is
    recorded.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.uploads, self.forwards, self.downloads = (torch.cuda.Stream(device) for _ in range(3))
        self.pool = torch.cuda.graph_pool_handle()  # shared by all graphs, which run one after another

    def host_buffer(self, size: int) -> Tensor:
        """Return page-locked memory of this many bytes."""
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def upload(self, host: Tensor) -> Tensor:
        """Start to copy a tensor to the device, and return the copy. Forwards that are submitted later wait for it."""
        with torch.cuda.stream(self.uploads):
            copy = host.to(self.device, non_blocking=True)
        self.forwards.wait_stream(self.uploads)
        copy.record_stream(self.forwards)
        return copy

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Submit the operations inside to the stream of forwards."""
        with torch.cuda.stream(self.forwards):
            yield

    def capture(self, function: Callable[[], Tensor]) -> tuple[Graph, Tensor]:
        """Record the kernels of a function inside `forward`, without running them.

        Other threads may use the device meanwhile, for example to load a model.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.forwards, capture_error_mode="thread_local"):
            result = function()
        return graph, result

    def download(self, source: Tensor, host: Tensor) -> Event:
        """Start to copy a result to host memory when the forwards before are done. Return the end of the copy."""
        self.downloads.wait_stream(self.forwards)
        with torch.cuda.stream(self.downloads):
            host.copy_(source, non_blocking=True)
        source.record_stream(self.downloads)
        end = torch.cuda.Event(blocking=True)  # a thread that waits for it sleeps
        end.record(self.downloads)
        return end

    def finish_loading(self) -> None:
        """Wait for what the calling thread has submitted to its own stream.

        To wait for the stream of forwards would break a recording in it.
        """
        torch.cuda.current_stream(self.device).synchronize()

    def settle(self) -> None:
        """Wait for the forwards."""
        self.forwards.synchronize()
