"""The process slot of one role: its current process, with the health and the history of that process."""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from service import logs
from service.environment import child_environment
from service.ipc.messages import Heartbeat, LoadModel, ModelStatus, UnloadModel, WorkerState
from service.processes.child import ChildConfig
from service.processes.programs import PROGRAMS
from service.settings import Settings
from twins.zoo.models import ModelReference

WATCH_S, LATE_S = 0.2, 1.0
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
STABLE_S = 60.0  # of service, after which earlier exits are forgotten
STALE_INTERVALS = 3  # between canaries, without a batch that succeeds, after which a worker does not count as ready
MAX_EARLY_EXITS = 5  # in a row before the process was ready, after which its slot counts as failed

log = logs.get()


@dataclass
class ProcessSlot:
    """A role that a process fills. When the process exits, another one is started."""

    role: str  # "worker-0"
    device: str = ""  # of a worker
    generation: int = -1
    pid: int = 0
    alive: bool = False
    started: float = 0.0
    last_heartbeat: float = 0.0
    busy_s: float = 0.0
    succeeded: float = 0.0  # of a worker: when a batch last succeeded
    canary_failed: bool = False
    problem: str = ""  # why a worker that is ready does not compute, as frontends know it
    ready: bool = False
    ready_since: float = 0.0
    has_served: bool = False  # whether any process in this slot has been ready
    cannot_start: bool = False  # as the process itself said, or as it exited early again and again
    failure: str = ""  # why it cannot start: the process's own words, or how it exited
    early_exits: int = 0  # in a row, before it was ready
    exits: int = 0  # in a row, without a stable time between
    state: WorkerState = "loading"
    models: dict[str, ModelStatus] = field(default_factory=dict)  # on a worker, by key
    released: set[str] = field(default_factory=set)  # by a frontend: models for which it has answered all calls

    @property
    def name(self) -> str:
        """Return the name of this process, which no process before it had."""
        return f"{self.role}.{self.generation}"

    @property
    def number(self) -> int:
        """Return the index among the slots of this kind, from 0."""
        return int(self.role.rpartition("-")[2])

    @property
    def is_worker(self) -> bool:
        """Return whether this is the slot of a worker."""
        return bool(self.device)

    @property
    def start_finished(self) -> bool:
        """Return whether the start has ended: the process is ready, or it cannot start."""
        return self.ready or self.cannot_start

    @property
    def backoff_s(self) -> float:
        """Return how long to wait before the next start: 0 after the first exit, then twice as long each time."""
        return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (self.exits - 2)) if self.exits > 1 else 0.0

    async def spawn(
        self, folder: Path, settings: dict[str, Any], models: tuple[ModelReference, ...]
    ) -> asyncio.subprocess.Process:
        """Start the next process."""
        self.generation += 1
        config = ChildConfig(self.name, str(folder), os.getpid(), self.number, settings, models, self.device)
        self.ready, self.busy_s, self.canary_failed, self.problem = False, 0.0, False, ""
        self.models, self.released = {}, set()
        self.started = self.last_heartbeat = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            PROGRAMS["worker" if self.is_worker else "frontend"],
            self.name,  # shows the name in process lists
            stdin=asyncio.subprocess.PIPE,
            env=child_environment(),
            start_new_session=True,  # the supervisor passes on the signals that its process group receives
        )
        self.pid, self.alive = process.pid, True
        log.info("started", role=self.role, pid=self.pid)
        assert process.stdin
        process.stdin.write(config.encode())
        process.stdin.close()  # when all is written; a process that has exited already is seen by `watch`
        return process

    async def watch(self, process: asyncio.subprocess.Process, settings: Settings) -> str:
        """Wait for the exit of the process and return its reason. Kill the process if it hangs."""
        killed_for = None
        ended = asyncio.create_task(process.wait())
        while not ended.done():
            slept = time.monotonic()
            await asyncio.wait({ended}, timeout=WATCH_S)
            if time.monotonic() - slept > LATE_S:  # the supervisor did not run either: silence proves nothing
                self.last_heartbeat = time.monotonic()
            if killed_for is None and not ended.done() and (killed_for := self.kill_reason(settings)):
                log.error("killing", role=self.role, pid=self.pid, reason=killed_for)
                process.kill()
        self.alive = False
        return killed_for or describe_exit(ended.result())

    def kill_reason(self, settings: Settings) -> str | None:
        """Return why the process should be killed, or None if it should not."""
        now = time.monotonic()
        if not self.ready:
            return "slow start" if now - self.started > settings.start_timeout_s else None
        return "hang" if max(now - self.last_heartbeat, self.busy_s) > settings.hang_timeout_s else None

    def record(self, heartbeat: Heartbeat) -> None:
        """Record what a process reports of its batches."""
        self.busy_s, self.canary_failed = heartbeat.busy_s, heartbeat.canary_failed
        self.succeeded = max(self.succeeded, heartbeat.succeeded)

    def stale_reason(self, settings: Settings) -> str:
        """Return why a worker whose process is ready does not compute; empty if it does."""
        if not settings.canary_s:
            return ""
        if self.canary_failed:
            return "its device failed twice in a row on a blank image; the log says how"
        limit_s = STALE_INTERVALS * settings.canary_s
        is_stale = time.monotonic() - self.succeeded > limit_s
        return f"no batch has succeeded for {limit_s:g} s" if is_stale else ""

    def mark_ready(self) -> None:
        """Record that the process serves."""
        self.succeeded = time.monotonic()  # the warm-up
        self.ready, self.ready_since, self.early_exits, self.state = True, time.monotonic(), 0, "ready"
        self.has_served, self.cannot_start, self.failure = True, False, ""

    def mark_exited(self) -> None:
        """Record that the process has exited, and whether the next one will probably serve soon."""
        stable = self.ready and time.monotonic() - self.ready_since > STABLE_S
        self.exits = 1 if stable else self.exits + 1
        self.early_exits = 0 if self.ready else self.early_exits + 1
        self.cannot_start = self.cannot_start or self.early_exits >= MAX_EARLY_EXITS
        known_good = self.state in ("ready", "recovering") and self.early_exits < 2
        self.state = "recovering" if known_good else "broken" if self.early_exits > 1 else "loading"
        self.ready, self.problem = False, ""

    def record_change(self, message: LoadModel | UnloadModel) -> None:
        """Record a change that is sent to the worker, so that it is sent only once."""
        if isinstance(message, LoadModel):
            key, sha256 = message.reference.key, message.reference.sha256 or ""
            self.models[key] = ModelStatus(key, sha256, "loading")
        else:
            self.models[message.key] = replace(self.models[message.key], state="unloading")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process if it is still there."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def describe_exit(code: int) -> str:
    """Return an exit code in words, for the log and the metric."""
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
