"""Streams without a device, which record what is submitted and copy results as late as a device may."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class FakeEvent:
    """The end of a copy, which happens when somebody waits for it."""

    streams: "FakeStreams"
    name: str
    copies: list[Callable[[], None]]

    def synchronize(self) -> None:
        if (fault := self.streams.fault) is not None:
            raise fault
        self.streams.log.append(f"wait for {self.name}")
        with torch.inference_mode():
            while self.copies:
                self.copies.pop(0)()


@dataclass
class FakeGraph:
    """Runs its function again, into the tensor that the recording returned."""

    streams: "FakeStreams"
    name: str
    function: Callable[[], Tensor]
    output: Tensor

    def replay(self) -> None:
        self.streams.log.append(f"replay {self.name}")
        self.output.copy_(self.function())


@dataclass
class FakeStreams:
    """Streams on the CPU: forwards run at once, downloads when somebody waits for them."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    log: list[str] = field(default_factory=list)
    buffers: list[Tensor] = field(default_factory=list)
    captured: list[tuple[int, ...]] = field(default_factory=list)
    can_capture: bool = True
    fault: Exception | None = None  # raised by every wait
    inside: bool = False  # whether operations go to the stream of forwards
    capturing: bool = False
    uploads: int = 0
    downloads: int = 0

    def host_buffer(self, size: int) -> Tensor:
        self.buffers.append(torch.empty(size, dtype=torch.uint8))
        return self.buffers[-1]

    def upload(self, host: Tensor) -> Tensor:
        self.uploads += 1
        self.log.append(f"upload {self.uploads}")
        return host.clone()

    @contextmanager
    def forward(self) -> Iterator[None]:
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def capture(self, function):
        assert self.inside
        if not self.can_capture:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.capturing = True
        try:
            output = function()
        finally:
            self.capturing = False
        self.captured.append(tuple(output.shape))
        return FakeGraph(self, f"of {len(output)}", function, output), output

    def download(self, source: Tensor, host: Tensor) -> FakeEvent:
        self.downloads += 1
        self.log.append(f"download {self.downloads}")
        return FakeEvent(self, f"download {self.downloads}", [lambda: host.copy_(source)])

    def finish_loading(self) -> None:
        self.log.append("finish loading")

    def settle(self) -> None:
        assert not self.capturing, "operation not permitted when stream is capturing"
        self.log.append("settle")
