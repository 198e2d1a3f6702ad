"""Run `twins serve` for a test, as a process of its own on free ports of the loopback interface."""

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

TIMEOUT_S = 60.0  # generous, since machines may be slow
RETURN_FREED = {"MALLOC_MMAP_THRESHOLD_": "32768", "MALLOC_ARENA_MAX": "1"}
"""The environment in which the allocator returns freed memory, so that what is left is in use."""


def wait_until(condition: Callable, *, timeout_s: float = TIMEOUT_S, what: str = "the condition"):
    """Poll until `condition` returns a true value, and return this value. Raise AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {timeout_s} s")


class Server:
    """A running service. `flags` are those of the command line."""

    def __init__(
        self,
        *flags: str,
        environ: dict[str, str] | None = None,
        wait: bool = True,
        preexec: Callable | None = None,
        program: str = "service.cli",
        stderr: int | None = None,  # redirect the log to this file descriptor instead of `log`
    ) -> None:
        self.log_file = tempfile.NamedTemporaryFile(prefix="twins-test-", suffix=".log", mode="w+b")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", program, "serve", "--log-format", "json"),
                *("--http-port", "0", "--grpc-port", "0", "--drain-delay-s", "0.2"),
                *("--frontends", "1", *flags),
            ],
            stdout=self.log_file,
            stderr=subprocess.STDOUT if stderr is None else stderr,
            env={**os.environ, **(environ or {})},
            preexec_fn=preexec,
        )
        if wait:
            try:
                self.wait_for("ready")
            except AssertionError:
                self.__exit__()
                raise

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log_file.close()

    def log(self) -> str:
        """Return the log so far."""
        return Path(self.log_file.name).read_text()

    def events(self, name: str, **fields: object) -> list[dict]:
        """Return the log events of this name with these fields so far."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{") and line.endswith("}")]
        return [e for e in lines if e["event"] == name and all(e.get(k) == v for k, v in fields.items())]

    def wait_for(self, name: str, *, count: int = 1, **fields: object) -> dict:
        """Wait until the event has been logged `count` times. Return the last one."""

        def found() -> list[dict]:
            if self.process.poll() is not None and len(self.events(name, **fields)) < count:
                raise AssertionError(f"the service ended before {name!r}:\n{self.log()}")
            return self.events(name, **fields)[count - 1 :]

        return wait_until(found, what=f"the event {name!r}")[0]

    @property
    def http(self) -> str:
        """Return the base URL of the HTTP interface."""
        return self.events("ready")[0]["http"]

    @property
    def grpc(self) -> str:
        """Return host and port of the gRPC interface."""
        return self.events("ready")[0]["grpc"]

    def pid(self, role: str) -> int:
        """Return the id of the current process of a role."""
        return self.events("started", role=role)[-1]["pid"]

    def worker_ready(self) -> bool:
        """Return whether /readyz answers 200."""
        try:
            return httpx.get(f"{self.http}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def cpu_s(self, role: str) -> float:
        """Return the processor time that the current process of a role has used."""
        used = psutil.Process(self.pid(role)).cpu_times()
        return used.user + used.system

    def memory_bytes(self) -> dict[str, int]:
        """Return the resident memory of each process by role."""
        roles = {event["role"] for event in self.events("started")}
        return {role: psutil.Process(self.pid(role)).memory_info().rss for role in roles}

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a metric with these labels."""
        total = 0.0
        for line in httpx.get(f"{self.http}/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            if (series == name or series.startswith(name + "{")) and all(
                f'{k}="{v}"' in series for k, v in labels.items()
            ):
                total += float(value)
        return total

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)
