"""What a worker and a frontend have in common: they report to the supervisor and do not outlive it."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from service import logs, metrics
from service.ipc.transport import ClientSocket, Heartbeat, address
from service.settings import Settings

HEARTBEAT_S = 0.5
CONTROL = "control"  # the supervisor's name in the run-time folder


@dataclass(frozen=True)
class ChildConfig:
    """What a child is told when it is started."""

    name: str  # "worker-0.2": its slot, and how many processes were there before
    folder: str  # the private run-time folder
    parent: int  # the supervisor's process id
    slot: int  # counted from 0
    device: str = ""  # a worker's

    @property
    def role(self) -> str:
        """The slot's name, which stays the same over restarts."""
        return self.name.partition(".")[0]


def write_settings(folder: Path, settings: Settings) -> None:
    """Leaves the settings for children: keys must not stand on a command line that everybody may read."""
    plain = {**settings.model_dump(), "api_keys": [key.get_secret_value() for key in settings.api_keys]}
    file = folder / "settings.json"
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(plain))


def start(main: Callable[[ChildConfig, Settings, ClientSocket], Coroutine[Any, Any, None]]) -> None:
    """Runs a child process: `main` with its config, the settings and the line to the supervisor."""
    config = msgspec.json.decode(sys.argv[1].encode(), type=ChildConfig)
    settings = Settings.model_validate_json((Path(config.folder) / "settings.json").read_bytes())
    logs.configure(settings, process=config.role)
    # the terminal's interrupt reaches the whole group, but the supervisor decides who ends when
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def run() -> None:
        await main(config, settings, ClientSocket(address(config.folder, CONTROL), name=config.name))

    asyncio.run(run())


async def send_heartbeats(
    config: ChildConfig, control: ClientSocket, busy_s: Callable[[], float] = lambda: 0.0
) -> None:
    """Tells the supervisor that this process is alive, until cancelled; ends the process if the supervisor is gone."""
    while True:
        if os.getppid() != config.parent:
            os._exit(1)
        metrics.process_memory(config.role)
        await control.send(Heartbeat(busy_s()))
        await asyncio.sleep(HEARTBEAT_S)
