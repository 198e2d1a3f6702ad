"""Start and stop a server, on free ports of the loopback interface."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.models.networks import weights
from bench.rivals.contestants import Contestant
from tools.documents import ROOT

SCRIPTS = Path(__file__).parent
LARGE = ("twins_svt_small",)
"""The models whose forward pass takes most of the time of a request."""
READY_S, STOP_S = 120.0, 15.0
NAMESPACE = ("unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")


class ServerFailed(Exception):
    """A server ended, or does not answer."""


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    contestant: Contestant
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Return the URL of its endpoint."""
        return f"http://127.0.0.1:{self.port}{self.contestant.path}"

    @property
    def entry(self) -> Sequence[str]:
        """Return what a command must start with to reach the server."""
        return ("nsenter", "--target", str(self.process.pid), "--net") if self.contestant.isolated else ()

    def check(self) -> None:
        """Raise ServerFailed if the process ended."""
        if self.process.poll() is not None:
            raise ServerFailed(f"{self.contestant.name} ended: {self.log.read_text('utf-8', 'replace')[-2000:]}")


def free_ports() -> int:
    """Return a port that is free, and so are the two after it."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
        try:
            for each in (port, port + 1, port + 2):
                with socket.socket() as other:
                    other.bind(("127.0.0.1", each))
        except (OSError, OverflowError):
            continue
        return port


@contextmanager
def started(contestant: Contestant, model: str) -> Iterator[Running]:
    """Start a server, and end all its processes afterwards. It may not be ready yet."""
    port = free_ports()
    values = {"python": sys.executable, "model": weights(model).argument, "port": port, "grpc_port": port + 1}
    command = [part.format(**values) for part in contestant.command]
    home = Path(tempfile.mkdtemp(prefix="bench-"))
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*(NAMESPACE if contestant.isolated else ()), *command],
            cwd=ROOT if contestant.kind == "ours" else SCRIPTS,
            env=environment(contestant, model, port, home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Running(contestant, port, process, log)
    finally:
        stop(process)
        shutil.rmtree(home, ignore_errors=True)


def environment(contestant: Contestant, model: str, port: int, home: Path) -> dict[str, str]:
    """Return the environment of a server: ours gets the user's own, without what a benchmark sets for itself."""
    if contestant.kind == "ours":
        return dict(os.environ)
    threads = contestant.threads if model in LARGE else 1
    rival = {"RIVAL_MODEL": model, "RIVAL_PORT": str(port), "RIVAL_THREADS": str(threads)}
    folders = {"BENTOML_HOME": str(home), "RAY_TMPDIR": str(home)}
    return {**os.environ, **rival, **folders, **contestant.environ}


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and the processes that it started: some do not end them themselves."""
    process.terminate()
    deadline = time.monotonic() + STOP_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
