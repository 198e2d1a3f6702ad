"""Functions for all child processes, which report to the supervisor and exit when it has exited."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

import msgspec

from service import limits, logs, metrics
from service.ipc.messages import Fatal, Heartbeat, Stop, address
from service.ipc.transport import ClientSocket
from service.processes.loop import Loop
from service.settings import Settings
from twins.zoo.models import ModelReference

HEARTBEAT_S = 0.5
ACK_TIMEOUT_S = 5.0  # for the supervisor to confirm the last message, which an immediate exit would lose
CONTROL = "control"  # the supervisor's name in the run-time folder
EXIT_BROKEN, EXIT_FATAL = 1, 3

log = logs.get()


@dataclass(frozen=True)
class ChildConfig:
    """The configuration of a child process.

    It arrives on standard input, so that API keys appear neither in files nor in process lists.
    """

    name: str  # "worker-0.2": its process slot, and how many processes were in it before
    folder: str  # the private run-time folder
    parent: int  # the supervisor's process id
    slot: int  # counted from 0
    settings: dict[str, Any]
    models: tuple[ModelReference, ...] = ()  # of a worker, resolved
    device: str = ""  # of a worker

    @property
    def role(self) -> str:
        """Return the name of the process slot, which stays the same over restarts."""
        return self.name.partition(".")[0]

    def encode(self) -> bytes:
        """Return the bytes for `decode`."""
        return msgspec.json.encode(self, enc_hook=str)  # paths


def decode(data: bytes) -> ChildConfig:
    """Return the config that a supervisor has encoded."""
    return msgspec.json.decode(data, type=ChildConfig, dec_hook=lambda kind, value: kind(value))


def settings_with_keys(settings: Settings) -> dict[str, Any]:
    """Return the settings with the API keys as text, for `ChildConfig`."""
    return {**settings.model_dump(), "api_keys": [key.get_secret_value() for key in settings.api_keys]}


def start(main: Callable[[ChildConfig, Settings, ClientSocket], Coroutine[Any, Any, None]]) -> None:
    """Run a child process: `main` with its config, the settings and the connection to the supervisor."""
    limits.forbid_core_dumps()
    config = decode(sys.stdin.buffer.read())
    settings = Settings.model_validate(config.settings)
    logs.configure(settings, process=config.role, on_drop=metrics.log_line_dropped)
    # A terminal interrupts the whole process group, but the supervisor decides when each process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def run() -> None:
        await main(config, settings, ClientSocket(address(config.folder, CONTROL), name=config.name))

    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(run())
    except Exception as error:
        exit_process(EXIT_BROKEN, error)


def exit_process(code: int, error: BaseException | None = None) -> NoReturn:
    """Log the error, if any, and end the process immediately."""
    if error is not None:
        log.error("process failed", exc_info=error)
    logs.flush()
    os._exit(code)


async def report_fatal(control: ClientSocket, why: str) -> NoReturn:
    """Report to the supervisor that this process cannot start, and end the process."""
    control.send(Fatal(why))
    with suppress(TimeoutError):
        async with asyncio.timeout(ACK_TIMEOUT_S):
            await wait_for_stop(control)
    exit_process(EXIT_FATAL)


async def wait_for_stop(control: ClientSocket) -> None:
    """Return when the supervisor sends Stop."""
    while not isinstance((await control.receive())[0], Stop):
        pass


class Attempt:
    """Suppresses OSError from work that is tried again and again, and logs a line when the error changes."""

    def __init__(self, event: str) -> None:
        self.event, self.last = event, ""

    def __enter__(self) -> None:
        """Start to watch for an error of the work."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        detail = str(error) if isinstance(error, OSError) else ""
        if detail and detail != self.last:
            log.error(self.event, detail=detail)
        self.last = detail
        return bool(detail)


async def send_heartbeats(
    config: ChildConfig, control: ClientSocket, heartbeat: Callable[[], Heartbeat] = Heartbeat
) -> None:
    """Send heartbeats to the supervisor until cancelled. End the process if the supervisor has exited."""
    attempt = Attempt("the metric files cannot be restored")
    while True:
        if os.getppid() != config.parent:
            exit_process(EXIT_BROKEN)
        with attempt:
            metrics.restore_files()
            metrics.write_exemplars()
        metrics.process_memory(config.role)
        control.send(heartbeat())
        await asyncio.sleep(HEARTBEAT_S)
