"""Decodes images in processes that can be killed: at a time limit, or when nobody waits for the answer any more.

Each process serves one image at a time. It is started for the first image that needs it, reused for the next ones, and
ended when it is idle. Threads wait for the processes, so that memory is reserved as for images decoded in threads.
"""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from service import logs, metrics
from service.core.memory import MemoryAccount
from service.core.stage import StageResult, ThreadStage
from service.decoding.channel import ANY_REPLY, BadReply, Channel, Done, Failed, Ready, Refused
from service.decoding.preparation import PREPARE_BYTES, Preparation, Prepared, ProcessTime
from service.environment import decoder_environment
from service.errors import Cancelled, DecodeTimeout, Unavailable, UnreadableImage
from twins.images import decode
from twins.images.decode import ImageError, Limits

PROGRAM = "service.decoding.process"
MOST_PROCESSES = 4
START_S = 30.0  # for a process to be ready, which takes far less than a second
IDLE_S = 30.0
RETRY_AFTER_S = 1
SPARE_BYTES = 2**29  # of memory for a process, beyond twice what is reserved for the largest image
THREAD_BYTES = 2**24  # and for each thread that a decoding library starts: one for each core

KINDS: dict[str, type[ImageError]] = {
    kind.__name__: kind for kind in (decode.NotAnImage, decode.TooLarge, decode.Undecodable)
}

log = logs.get()


class Decoder:
    """One decoder process. Raise OSError, EOFError or BadReply if it does not start."""

    def __init__(self, memory_bytes: int) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.last_used = time.monotonic()
        self.busy = False  # with a job that it has not answered
        self.killed = False
        with theirs:
            command = [sys.executable, "-W", "ignore", "-m", PROGRAM, str(memory_bytes)]  # damaged images warn
            try:
                self.process = subprocess.Popen(  # noqa: S603 - the command is ours
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=decoder_environment()
                )
            except OSError:
                ours.close()
                raise
        try:
            self.channel.limit(START_S)
            self.channel.receive(Ready)
        except (OSError, EOFError, BadReply):
            self.end()
            raise

    @property
    def reusable(self) -> bool:
        """Return whether the process can take a job."""
        return not self.busy and not self.killed and self.process.poll() is None

    def prepare(self, data: bytes, how: Preparation, timeout_s: float) -> Prepared:
        """Return the sample of an image. Raise ImageError, or what `Channel` raises, after which it must be ended."""
        self.busy = True
        self.channel.limit(timeout_s)
        sent = time.monotonic()
        self.channel.send_job(data, how)
        match self.channel.receive(ANY_REPLY):
            case Done() as done:
                prepared = self.channel.receive_prepared(done, how)
                self.answered()
                return replace(prepared, process=self.time_of(done, sent))
            case Refused(kind, detail) if kind in KINDS:
                self.answered()
                raise KINDS[kind](detail)
            case Failed(detail):
                raise RuntimeError(f"a decoder process failed: {detail}")
            case other:
                raise BadReply(str(other))

    def time_of(self, done: Done, sent: float) -> ProcessTime | None:
        """Return when the process worked on a job, or None if what it says of that cannot be true."""
        if sent <= done.began and done.took_s >= 0 and done.began + done.took_s <= time.monotonic():
            return ProcessTime(self.process.pid, done.began, done.took_s)
        return None

    def answered(self) -> None:
        """Record that the process has answered its job."""
        self.busy, self.last_used = False, time.monotonic()

    def kill(self) -> None:
        """End the process at once, without waiting until it has ended."""
        self.killed = True  # it may seem to run for a moment yet
        self.process.kill()

    def end(self) -> int:
        """End the process and return its exit code: the one that it had before, if it ended by itself."""
        self.channel.connection.close()
        self.kill()
        return self.process.wait()


class DecodeJob:
    """One image for a decoder process. Its call may be cancelled from another thread at any time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.decoder: Decoder | None = None
        self.cancelled = False

    @contextmanager
    def uses(self, decoder: Decoder) -> Iterator[None]:
        """Give `cancel` the decoder to kill during the block. Raise Cancelled if it did, or was called before."""
        with self.lock:
            self.check()
            self.decoder = decoder
        try:
            yield
        finally:
            with self.lock:
                self.decoder = None
                self.check()

    def check(self) -> None:
        """Raise Cancelled if the call was cancelled."""
        if self.cancelled:
            raise Cancelled("the call ended while its image was decoded")

    def cancel(self) -> None:
        """Give the image up."""
        with self.lock:
            self.cancelled = True
            if self.decoder:
                self.decoder.kill()


class DecoderPool:
    """The decoder processes of a frontend."""

    def __init__(self, *, processes: int, timeout_s: float, limits: Limits, memory_bytes: int | None = None) -> None:
        self.stage = ThreadStage("decoders", processes)
        self.timeout_s = timeout_s
        self.memory_bytes = memory_bytes or process_bytes(limits)
        self.lock = threading.Lock()
        self.idle: list[Decoder] = []  # the newest last; change it with the lock

    async def run(
        self, data: bytes, how: Preparation, memory: MemoryAccount, held_pixels: int
    ) -> StageResult[Prepared]:
        """Return the sample of an image. Raise ServiceError, ImageError. If it is cancelled, kill the process."""
        job, loop = DecodeJob(), asyncio.get_running_loop()
        try:
            return await self.stage.run(self.prepare, data, how, memory, held_pixels, job)
        except asyncio.CancelledError:
            job.cancel()
            raise
        finally:
            loop.call_later(IDLE_S, loop.run_in_executor, None, self.end_idle, IDLE_S)

    def prepare(
        self, data: bytes, how: Preparation, memory: MemoryAccount, held_pixels: int, job: DecodeJob
    ) -> Prepared:
        """Return the sample of an image, in a thread. Raise as `run` does."""
        with memory.in_thread():
            began = time.monotonic()
            with memory.working(PREPARE_BYTES * held_pixels, large=True), self.decoder(job) as decoder:
                prepared = self.prepare_in(decoder, data, how, job)
            memory.count(prepared.size_bytes)
            took_s = time.monotonic() - began
            preprocess_s = min(prepared.preprocess_s, took_s)  # which the process says
            return replace(prepared, decode_s=took_s - preprocess_s, preprocess_s=preprocess_s, began=began)

    @contextmanager
    def decoder(self, job: DecodeJob) -> Iterator[Decoder]:
        """Take a process for one image. Afterwards it is idle, or ended if it is of no more use. Raise Cancelled."""
        job.check()  # a process would be started only to be idle
        decoder = self.take()
        try:
            yield decoder
        finally:
            self.keep_or_end(decoder)

    def prepare_in(self, decoder: Decoder, data: bytes, how: Preparation, job: DecodeJob) -> Prepared:
        """Return the sample of an image from a process. Raise ServiceError, ImageError."""
        try:
            with job.uses(decoder):
                return decoder.prepare(data, how, self.timeout_s)
        except Cancelled:
            metrics.decode_aborted("cancelled")
            raise
        except TimeoutError as error:
            metrics.decode_aborted("timeout")
            raise DecodeTimeout(f"the image takes longer than {self.timeout_s:g} s to decode") from error
        except (OSError, EOFError, BadReply) as error:
            metrics.decode_aborted("crash")
            log.warning("decoder crashed", pid=decoder.process.pid, code=decoder.end(), detail=str(error))
            raise UnreadableImage("the image cannot be decoded: the decoder crashed") from error

    def take(self) -> Decoder:
        """Return a process that is idle, or a new one. Raise Unavailable if none starts."""
        while decoder := self.take_idle():
            if decoder.reusable:
                return decoder
            decoder.end()
        try:
            return Decoder(self.memory_bytes)
        except (OSError, EOFError, BadReply) as error:
            log.error("no decoder starts", detail=str(error) or type(error).__name__)
            raise Unavailable("large images cannot be decoded now", retry_after_s=RETRY_AFTER_S) from error

    def take_idle(self) -> Decoder | None:
        """Return the process that has been idle for the shortest time, if there is one."""
        with self.lock:
            return self.idle.pop() if self.idle else None

    def keep_or_end(self, decoder: Decoder) -> None:
        """Keep a process for the next image, or end it if it is of no more use."""
        if not decoder.reusable:
            decoder.end()
            return
        with self.lock:
            self.idle.append(decoder)

    def end_idle(self, idle_s: float = 0.0) -> None:
        """End the processes that have been idle for so long. This blocks until they have ended."""
        last = time.monotonic() - idle_s
        with self.lock:
            ended = [decoder for decoder in self.idle if decoder.last_used <= last]
            self.idle = [decoder for decoder in self.idle if decoder.last_used > last]
        for decoder in ended:
            decoder.end()


def process_bytes(limits: Limits) -> int:
    """Return the memory that a process may take beyond its libraries: more than any image within the limits needs."""
    cores = os.cpu_count() or 1
    return 2 * (PREPARE_BYTES * limits.max_pixels + limits.max_bytes) + SPARE_BYTES + THREAD_BYTES * cores
