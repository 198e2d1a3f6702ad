"""One slot for a process, as the supervisor keeps it: the process that is in it now, its health and its history."""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from service import logs
from service.ipc.transport import WorkerState
from service.processes.child import ChildConfig
from service.settings import Settings, child_environment

WATCH_S, LATE_S = 0.2, 1.0
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
STABLE_S = 60.0  # of service, after which earlier deaths are forgotten

log = logs.get()


@dataclass
class ProcessSlot:
    """A role that a process fills; when it dies, the next one does."""

    role: str  # "worker-0"
    number: int
    device: str = ""  # a worker's
    generation: int = -1
    pid: int = 0
    alive: bool = False
    started: float = 0.0
    last_heartbeat: float = 0.0
    busy_s: float = 0.0
    ready: bool = False
    ready_since: float = 0.0
    early_exits: int = 0  # in a row, before it got ready
    deaths: int = 0  # in a row, without a stable time between
    state: WorkerState = "loading"

    @property
    def name(self) -> str:
        """This process's, unlike that of all before it."""
        return f"{self.role}.{self.generation}"

    @property
    def is_worker(self) -> bool:
        """Whether it has a device."""
        return bool(self.device)

    @property
    def backoff_s(self) -> float:
        """How long to wait before the next process: not at all the first time, then longer and longer."""
        return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (self.deaths - 2)) if self.deaths > 1 else 0.0

    async def spawn(self, folder: str) -> asyncio.subprocess.Process:
        """Starts the next process."""
        self.generation += 1
        self.ready, self.busy_s = False, 0.0
        self.started = self.last_heartbeat = time.monotonic()
        config = ChildConfig(self.name, folder, os.getpid(), self.number, self.device)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service.processes.worker" if self.is_worker else "service.processes.frontend",
            msgspec.json.encode(config).decode(),
            env=child_environment(),
            start_new_session=True,  # signals to our group are ours to pass on
        )
        self.pid, self.alive = process.pid, True
        log.info("started", role=self.role, pid=self.pid)
        return process

    async def watch(self, process: asyncio.subprocess.Process, settings: Settings) -> str:
        """Waits for the process's end, bringing it about if it hangs; the reason."""
        killed_for = None
        ended = asyncio.create_task(process.wait())
        while not ended.done():
            slept = time.monotonic()
            await asyncio.wait({ended}, timeout=WATCH_S)
            if time.monotonic() - slept > LATE_S:  # we were not running either: silence proves nothing
                self.last_heartbeat = time.monotonic()
            if killed_for is None and not ended.done() and (killed_for := self.kill_reason(settings)):
                log.error("killing", role=self.role, pid=self.pid, reason=killed_for)
                process.kill()
        self.alive = False
        return killed_for or describe_exit(ended.result())

    def kill_reason(self, settings: Settings) -> str | None:
        """Why the process should be killed, if it should."""
        now = time.monotonic()
        if not self.ready:
            return "slow start" if now - self.started > settings.start_timeout_s else None
        return "hang" if max(now - self.last_heartbeat, self.busy_s) > settings.hang_timeout_s else None

    def mark_ready(self) -> None:
        """Notes that the process serves."""
        self.ready, self.ready_since, self.early_exits, self.state = True, time.monotonic(), 0, "ready"

    def mark_exited(self) -> None:
        """Notes the process's end: whether the next one can be counted on soon."""
        stable = self.ready and time.monotonic() - self.ready_since > STABLE_S
        self.deaths = 1 if stable else self.deaths + 1
        self.early_exits = 0 if self.ready else self.early_exits + 1
        known_good = self.state in ("ready", "recovering") and self.early_exits < 2
        self.state = "recovering" if known_good else "broken" if self.early_exits > 1 else "loading"
        self.ready = False

    def send(self, number: signal.Signals) -> None:
        """A signal to the process, if it is still there."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def describe_exit(code: int) -> str:
    """An exit code in words, for the log and the metric."""
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
