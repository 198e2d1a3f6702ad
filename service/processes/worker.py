"""The process that owns a device: batches what the frontends send and runs it. The only one that imports torch."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, TypeVar, TypeVarTuple

import numpy as np
import torch

from service import logs, metrics
from service.core.batcher import Batcher
from service.errors import Internal, ServiceError, Unavailable
from service.ipc.transport import (
    Abandon,
    Array,
    ClientSocket,
    Done,
    Failed,
    Fatal,
    Job,
    Ready,
    Running,
    ServerSocket,
    Stop,
    address,
)
from service.processes import child
from service.processes.child import ChildConfig
from service.processes.models import labels_file_for, parse_references
from service.settings import Settings, cores
from twins.errors import DeviceMissing, TwinsError
from twins.runtime.plan import Plan
from twins.runtime.runner import Runner, choose_device
from twins.tasks import TASKS, decode_params
from twins.tasks.sample import Output, Sample
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

GAUGES_S = 1.0
ACK_TIMEOUT_S = 5.0  # for the supervisor to take our last word, which would be lost if we left at once
EXIT_FATAL, EXIT_DEVICE_LOST = 3, 4

log = logs.get()

Arguments = TypeVarTuple("Arguments")
Returned = TypeVar("Returned")

Key = tuple[str, str, tuple[int, ...]]  # a model's name, the task, the pixels' shape


@dataclass(frozen=True)
class Queued:
    """One sample, and who wants it run."""

    peer: bytes
    id: int
    sample: Sample


@dataclass(frozen=True)
class SampleOutput:
    """One sample's share of a batch. Times are the event loop's, in seconds."""

    output: Output
    started: float
    infer_s: float
    batch_size: int


class Worker:
    """One device with all models on it. All use of the device happens in one thread."""

    def __init__(self, config: ChildConfig, settings: Settings, control: ClientSocket) -> None:
        self.config, self.settings, self.control = config, settings, control
        self.plan = Plan(choose_device(config.device, config.slot), settings.precision, settings.compile)
        self.device_thread = ThreadPoolExecutor(1, "device")
        self.busy_since: float | None = None
        self.runners: dict[str, Runner] = {}
        self.jobs: dict[tuple[bytes, int], asyncio.Task[None]] = {}
        self.upcoming: dict[bytes, tuple[int, float]] = {}  # by frontend: how many, and when it said so
        self.server_socket = ServerSocket(address(config.folder, config.name))
        self.batcher: Batcher[Key, Queued, SampleOutput] = Batcher(
            self.run_batch,
            max_batch=lambda key: self.max_batch(key[1]),
            max_delay_s=settings.max_delay_ms / 1000,
            has_upcoming=self.has_upcoming,
        )

    def max_batch(self, task: str) -> int:
        """Return the largest number of samples of a task that run together."""
        return self.settings.max_batch or TASKS[task].max_batch[self.kind]

    def has_upcoming(self) -> bool:
        """Whether a frontend is preparing samples, as far as it has told lately."""
        now, lately_s = time.monotonic(), self.settings.max_delay_ms / 1000
        self.upcoming = {peer: (n, at) for peer, (n, at) in self.upcoming.items() if n and now - at <= lately_s}
        return bool(self.upcoming)

    @property
    def kind(self) -> str:
        """Of device: cuda or cpu."""
        return torch.device(self.plan.device).type

    async def run(self) -> None:
        """Loads, reports ready, and serves until told to stop."""
        heartbeats = asyncio.create_task(child.send_heartbeats(self.config, self.control, self.busy_s))
        try:
            await self.in_device_thread(check_device, self.plan.device)
            await self.in_device_thread(self.load)
        except TwinsError as error:
            await self.report_fatal(str(error))
        cards = tuple(runner.card for runner in self.runners.values())
        await self.control.send(Ready(cards, self.plan.device, device_count(self.kind)))
        log.info("worker ready", device=self.plan.device, models=list(self.runners))
        serving = [asyncio.create_task(job) for job in (self.batcher.serve(), self.receive(), self.gauges())]
        stopping = asyncio.create_task(self.wait_for_stop())
        done, _ = await asyncio.wait([*serving, stopping, heartbeats], return_when=asyncio.FIRST_COMPLETED)
        if stopping not in done:
            log.error("worker broke", exc_info=next(iter(done)).exception())
            logs.flush()
            os._exit(1)
        # nothing is in flight any more, and interpreters that hold a device are slow to leave
        logs.flush()
        os._exit(0)

    def load(self) -> None:
        """Loads and warms up every model. Raises TwinsError."""
        if self.kind == "cpu":
            torch.set_num_threads(self.settings.threads or max(1, cores() - 1))
        for reference in parse_references(self.settings):
            self.load_one(reference)

    def load_one(self, reference: ModelReference) -> None:
        """Loads and warms up one model."""
        began = time.monotonic()
        runner = Runner(load(reference, labels_file=labels_file_for(reference, self.settings)), self.plan)
        self.runners[reference.name] = runner
        runner.warm_up(doubling(self.max_batch(runner.card.task)))
        took_s = time.monotonic() - began
        metrics.model_loaded(reference.name, self.config.role, took_s)
        log.info("model loaded", model=reference.name, device=self.plan.device, seconds=round(took_s, 2))

    async def report_fatal(self, why: str) -> NoReturn:
        """Tells the supervisor that starting again would not help."""
        await self.control.send(Fatal(why))
        with suppress(TimeoutError):
            async with asyncio.timeout(ACK_TIMEOUT_S):
                await self.wait_for_stop()
        logs.flush()
        os._exit(EXIT_FATAL)

    async def receive(self) -> None:
        """Takes jobs, and takes them back."""
        while True:
            peer, message, arrays = await self.server_socket.receive()
            if isinstance(message, Job):
                self.upcoming[peer] = (message.upcoming, time.monotonic())
                task = asyncio.create_task(self.answer(peer, message, arrays))
                self.jobs[peer, message.id] = task
                task.add_done_callback(partial(self.discard_job, (peer, message.id)))
            elif isinstance(message, Abandon) and (peer, message.id) in self.jobs:
                self.jobs[peer, message.id].cancel()

    def discard_job(self, job: tuple[bytes, int], _: asyncio.Task[None]) -> None:
        """A job is over."""
        del self.jobs[job]

    async def answer(self, peer: bytes, job: Job, arrays: tuple[Array, ...]) -> None:
        """One job, from its sample to the reply."""
        arrived = asyncio.get_running_loop().time()
        sample = Sample(arrays[0].view(np.uint8), decode_params(job.task, job.params))
        try:
            queued = Queued(peer, job.id, sample)
            ran = await self.batcher.submit((job.model, job.task, sample.pixels.shape), queued, expires=job.expires)
        except Exception as error:  # whatever a batch raised
            failure = self.explain(error)
            await self.server_socket.send(peer, Failed(job.id, failure.code, failure.detail))
            return
        done = Done(job.id, ran.started - arrived, ran.infer_s, ran.batch_size)
        await self.server_socket.send(peer, done, ran.output.arrays)

    def explain(self, error: Exception) -> ServiceError:
        """What a client is told of a failed batch; a lost device ends the process, so that others may try again."""
        if isinstance(error, ServiceError):
            return error
        if isinstance(error, torch.OutOfMemoryError):
            log.warning("device memory exhausted by one image")
            return Unavailable("the device has no memory for this image")
        log.error("forward failed", exc_info=error)
        if isinstance(error, torch.AcceleratorError):
            logs.flush()
            os._exit(EXIT_DEVICE_LOST)
        return Internal("the model failed on this image")

    async def run_batch(self, key: Key, batch: list[Queued]) -> list[SampleOutput]:
        """One batch on the device; the frontends are told first, in case it is the last."""
        model, *_ = key
        for peer in {queued.peer for queued in batch}:
            await self.server_socket.send(peer, Running(tuple(queued.id for queued in batch if queued.peer == peer)))
        samples = [queued.sample for queued in batch]
        started = self.busy_since = asyncio.get_running_loop().time()
        metrics.queue_depth(self.config.role, self.batcher.depth)
        try:
            outputs = await self.in_device_thread(self.runners[model].forward, samples)
        finally:
            self.busy_since = None
        metrics.batch(model, len(samples))
        infer_s = asyncio.get_running_loop().time() - started
        metrics.worker_busy(self.config.role, infer_s)
        return [SampleOutput(output, started, infer_s, len(samples)) for output in outputs]

    async def in_device_thread(self, function: Callable[[*Arguments], Returned], *arguments: *Arguments) -> Returned:
        """Runs there, one call at a time."""
        return await asyncio.get_running_loop().run_in_executor(self.device_thread, function, *arguments)

    def busy_s(self) -> float:
        """How long the device thread has been in one batch."""
        return time.monotonic() - self.busy_since if self.busy_since is not None else 0.0

    async def gauges(self) -> None:
        """Keeps the gauges true while nothing happens."""
        while True:
            metrics.queue_depth(self.config.role, self.batcher.depth)
            if self.kind == "cuda":
                device = torch.device(self.plan.device)
                metrics.device_memory(self.config.role, "allocated", torch.cuda.memory_allocated(device))
                metrics.device_memory(self.config.role, "reserved", torch.cuda.memory_reserved(device))
            await asyncio.sleep(GAUGES_S)

    async def wait_for_stop(self) -> None:
        """Returns when the supervisor says so."""
        while not isinstance((await self.control.receive())[0], Stop):
            pass


def doubling(most: int) -> list[int]:
    """1, 2, 4 and so on, and at the end `most`."""
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]


def check_device(device: str) -> None:
    """Raises DeviceMissing unless the device is there."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # PyTorch says it either way
        raise DeviceMissing(f"there is no device {device}: {str(error).partition(chr(10))[0]}") from error


def device_count(kind: str) -> int:
    """Devices of a kind on this machine."""
    return torch.cuda.device_count() if kind == "cuda" else 1


async def main(config: ChildConfig, settings: Settings, control: ClientSocket) -> None:
    """A worker's life."""
    await Worker(config, settings, control).run()


if __name__ == "__main__":
    child.start(main)
