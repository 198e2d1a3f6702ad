"""The threads of a device, and the time that it spends on each batch.

Everything that a device does happens in one thread. A device with several batches in flight has a second thread, which
waits for their results while the first one submits the next batch.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from twins.errors import DeviceOutOfMemory
from twins.runtime.backend import InFlight
from twins.runtime.batches import BatchRunner, SampleError
from twins.tasks.sample import Output, Sample

Arguments = TypeVarTuple("Arguments")
Returned = TypeVar("Returned")


@dataclass(frozen=True)
class BatchResult:
    """The outputs of a batch, when it began on the device (time.monotonic), and how long it took there in seconds."""

    outputs: Sequence[Output | SampleError]
    began: float
    took_s: float


class BusyClock:
    """Measures how long each batch has the device, which runs the batches in flight one after another."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = 0
        self.since = 0.0  # when the running batch began

    def start(self) -> None:
        """Note that a batch is submitted. It begins now, or when the batch before it ends."""
        with self.lock:
            if not self.running:
                self.since = time.monotonic()
            self.running += 1

    def end(self) -> tuple[float, float]:
        """Note that the oldest batch in flight has ended. Return when it began and how long it took."""
        with self.lock:
            began, self.since = self.since, time.monotonic()
            self.running -= 1
            return began, self.since - began

    def busy_s(self) -> float:
        """Return how long the current batch has been running."""
        with self.lock:
            return time.monotonic() - self.since if self.running else 0.0


class DeviceThreads:
    """Runs functions and batches on a device."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "device")
        self.results = ThreadPoolExecutor(1, "results")  # starts its thread with the first batch that overlaps another
        self.clock = BusyClock()

    async def call(self, function: Callable[[*Arguments], Returned], *arguments: *Arguments) -> Returned:
        """Run a function in the device's thread, one call at a time."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)

    async def run(self, runner: BatchRunner, samples: Sequence[Sample], *, overlap: bool) -> BatchResult:
        """Run a batch. With `overlap` further batches are submitted before it ends. Raise DeviceLost.

        A batch that the device has no memory for runs in parts, without overlap.
        """
        if overlap:
            try:
                batch = await self.call(self.submit, runner, samples)
                return await asyncio.get_running_loop().run_in_executor(self.results, self.wait, batch)
            except DeviceOutOfMemory:
                pass
        return await self.call(self.run_alone, runner, samples)

    # The wait for the thread, which also warms up models, is no time of the batch.

    def run_alone(self, runner: BatchRunner, samples: Sequence[Sample]) -> BatchResult:
        """Run a batch to its end."""
        self.clock.start()
        try:
            outputs = runner.run(samples)
        finally:
            began, took_s = self.clock.end()
        return BatchResult(outputs, began, took_s)

    def submit(self, runner: BatchRunner, samples: Sequence[Sample]) -> InFlight:
        """Start a batch."""
        self.clock.start()
        try:
            return runner.model.submit(samples)
        except BaseException:
            self.clock.end()
            raise

    def wait(self, batch: InFlight) -> BatchResult:
        """Wait for the oldest batch in flight."""
        try:
            outputs = batch.result()
        finally:
            began, took_s = self.clock.end()
        return BatchResult(outputs, began, took_s)

    def close(self) -> None:
        """Release the threads."""
        self.thread.shutdown(wait=False)
        self.results.shutdown(wait=False)
