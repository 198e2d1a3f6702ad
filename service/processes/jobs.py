"""The jobs that frontends send to a worker, from their arrival to their replies.

A job is a future with a callback. A task for each job would cost more than all else that happens to it here.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import cast

from service import logs
from service.core.local import Key, LocalPool
from service.core.pool import PoolOutput
from service.core.sample_result import SampleResult, output_of
from service.errors import Cancelled, Internal, ServiceError
from service.ipc.messages import IDENTITY_SEPARATOR, Abandon, Done, Failed, Job, Result, Running
from service.ipc.transport import Array, ServerSocket
from service.processes.batch_traces import BatchTraces
from service.tracing.context import CURRENT, parse, within
from service.tracing.tracer import NO_TRACER, Tracer
from twins.tasks import decode_params
from twins.tasks.sample import Pixels, Sample

log = logs.get()

Tag = tuple[bytes, int]  # a frontend's address, and the job's id there


class Jobs:
    """The jobs of all frontends in one worker."""

    def __init__(self, at: str, pool: LocalPool, tracer: Tracer = NO_TRACER) -> None:
        self.socket, self.pool = ServerSocket(at), pool
        self.traces = BatchTraces(tracer)
        self.open: dict[Tag, asyncio.Future[SampleResult]] = {}
        self.outputs: dict[bytes, list[tuple[int, PoolOutput]]] = {}  # that are not sent yet, by frontend
        self.gone: set[str] = set()  # names of frontends that have exited, which are never used again
        self.upcoming: dict[bytes, tuple[int, float]] = {}  # by frontend: how many samples, and when it reported them

    def has_upcoming(self, lately_s: float) -> bool:
        """Return whether a frontend has reported, in the last `lately_s`, samples that it is still preparing."""
        now = time.monotonic()
        self.upcoming = {peer: (n, at) for peer, (n, at) in self.upcoming.items() if n and now - at <= lately_s}
        return bool(self.upcoming)

    async def receive(self) -> None:
        """Start the jobs that arrive, and cancel those that are abandoned."""
        while True:
            peer, message, arrays = await self.socket.receive()
            if frontend_of(peer) in self.gone:
                continue
            if isinstance(message, Job):
                self.upcoming[peer] = (message.upcoming, time.monotonic())
                with within(parse(message.traceparent)) if message.traceparent else nullcontext():
                    self.start(peer, message, arrays)
            elif isinstance(message, Abandon) and (peer, message.id) in self.open:
                self.open[peer, message.id].cancel()

    def drop_frontend(self, name: str) -> None:
        """Cancel the jobs of a frontend that has exited, and ignore those that still arrive."""
        self.gone.add(name)
        abandoned = [answer for (peer, _), answer in self.open.items() if frontend_of(peer) == name]
        for answer in abandoned:
            answer.cancel()
        log.info("dropped the jobs of a frontend that has died", frontend=name, jobs=len(abandoned))

    # ------------------------------------------------------------------ one job

    def start(self, peer: bytes, job: Job, arrays: tuple[Array, ...]) -> None:
        """Start a job, which `finish` answers."""
        tag = (peer, job.id)
        try:
            sample = Sample(cast(Pixels, arrays[0]), decode_params(job.task, job.params))
            key = Key(job.model, sample.layout, alone=next(self.pool.alone) if job.alone else None)
            answer = self.pool.start(key, sample, expires=job.expires, tag=tag, priority=job.priority)
        except Exception as error:
            self.fail(tag, job.model, error)
            return
        self.open[tag] = answer
        if job.traceparent and (context := CURRENT.get()):
            self.traces.add(tag, context)
        answer.add_done_callback(partial(self.finish, tag, job.model))

    def finish(self, tag: Tag, model: str, answer: asyncio.Future[SampleResult]) -> None:
        """Send the reply of a job that has ended. The outputs of a batch share one message per frontend."""
        del self.open[tag]
        if answer.cancelled():
            self.traces.answered(tag, model, Cancelled.code)
            return
        try:
            output = output_of(answer)
        except Exception as error:
            self.fail(tag, model, error)
            return
        if batch := self.traces.answered(tag, model, ""):
            output = replace(output, batch=batch)
        if not self.outputs:  # the other jobs of the batch are added before that call
            asyncio.get_running_loop().call_soon(self.send_outputs)
        peer, job = tag
        self.outputs.setdefault(peer, []).append((job, output))

    def fail(self, tag: Tag, model: str, error: Exception) -> None:
        """Send an error as the reply of a job."""
        known = error if isinstance(error, ServiceError) else Internal("the worker cannot run this image")
        if known is not error:
            log.error("job failed", model=model, exc_info=error)
        self.traces.answered(tag, model, known.code)
        peer, job = tag
        self.socket.send(peer, Failed(job, known.code, known.detail))

    # ------------------------------------------------------------------ messages

    def report_running(self, tags: Sequence[Tag]) -> None:
        """Report the jobs of a batch that starts to their frontends."""
        jobs: dict[bytes, list[int]] = {}
        for peer, job in tags:
            jobs.setdefault(peer, []).append(job)
        for peer, ids in jobs.items():
            self.socket.send(peer, Running(tuple(ids)))

    def send_outputs(self) -> None:
        """Send the outputs that have been computed."""
        waiting, outputs, self.outputs = self.pool.waiting(), self.outputs, {}
        for peer, jobs in outputs.items():
            results = tuple(result(job, output) for job, output in jobs)
            arrays = [array for _, output in jobs for array in output.output.arrays]
            self.socket.send(peer, Done(results, waiting), arrays)


def result(job: int, output: PoolOutput) -> Result:
    """Return what describes a job's output in a message."""
    times = (output.queue_s, output.infer_s, output.batch_size)
    return Result(job, *times, len(output.output.arrays), output.began, output.batch)


def frontend_of(peer: bytes) -> str:
    """Return the name of the frontend that a connection belongs to."""
    return peer.decode(errors="replace").partition(IDENTITY_SEPARATOR)[0]
