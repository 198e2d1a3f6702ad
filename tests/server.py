"""A real service under test: `twins serve` as its own process, on free ports of the loopback interface."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

PATIENCE_S = 60.0  # for anything that must happen; generous, since machines are slow at times


def wait_until(condition: Callable, *, timeout_s: float = PATIENCE_S, what: str = "the condition"):
    """Polls until `condition` returns something true, and returns it."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {timeout_s} s")


class Server:
    """One running service. Flags as on the command line."""

    def __init__(
        self,
        *flags: str,
        environ: dict[str, str] | None = None,
        wait: bool = True,
        preexec: Callable | None = None,
        stderr: int | None = None,  # where the log goes instead of to `log`
    ) -> None:
        self.log_file = tempfile.NamedTemporaryFile(prefix="twins-test-", suffix=".log", mode="w+b")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "service.cli", "serve", "--log-format", "json"),
                *("--http-port", "0", "--grpc-port", "0", "--drain-delay-s", "0.2", *flags),
            ],
            stdout=self.log_file,
            stderr=subprocess.STDOUT if stderr is None else stderr,
            env={**os.environ, **(environ or {})},
            preexec_fn=preexec,
        )
        if wait:
            self.wait_for("ready")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log_file.close()

    def log(self) -> str:
        """All that it has said."""
        return Path(self.log_file.name).read_text()

    def events(self, name: str, **fields: object) -> list[dict]:
        """The log's events of that name and with those fields, so far."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{") and line.endswith("}")]
        return [e for e in lines if e["event"] == name and all(e.get(k) == v for k, v in fields.items())]

    def wait_for(self, name: str, *, count: int = 1, **fields: object) -> dict:
        """The event of that name, once it has come for the `count`th time."""

        def found() -> list[dict]:
            if self.process.poll() is not None and len(self.events(name, **fields)) < count:
                raise AssertionError(f"the service ended before {name!r}:\n{self.log()}")
            return self.events(name, **fields)[count - 1 :]

        return wait_until(found, what=f"the event {name!r}")[0]

    @property
    def http(self) -> str:
        """The base URL."""
        return self.events("ready")[0]["http"]

    @property
    def grpc(self) -> str:
        """Host and port."""
        return self.events("ready")[0]["grpc"]

    def pid(self, role: str) -> int:
        """The process that has that role now."""
        return self.events("started", role=role)[-1]["pid"]

    def worker_ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            return httpx.get(f"{self.http}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def memory_bytes(self) -> dict[str, int]:
        """The resident memory of each process, by role."""
        roles = {event["role"] for event in self.events("started")}
        return {role: psutil.Process(self.pid(role)).memory_info().rss for role in roles}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with those labels."""
        total = 0.0
        for line in httpx.get(f"{self.http}/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            if (series == name or series.startswith(name + "{")) and all(
                f'{k}="{v}"' in series for k, v in labels.items()
            ):
                total += float(value)
        return total

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)
