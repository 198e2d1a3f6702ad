"""Measure Ray Serve beside `twins serve` on the same cores, in one run: `python -m bench.service.ray`.

Both serve the small classifier of the package on the CPU over HTTP, one after the other, in several rounds, so that a
machine that is slow for a while is slow for both. The clients run on the same cores and wait for each answer. All runs
in a network namespace with the loopback interface alone, as Ray needs it on a machine without a network; that takes
root, or a kernel that lets users have namespaces.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import httpx

from bench.result import Result, Row, quick_option
from bench.service.clients import Load, closed
from tests.ray.service import ENVIRON, PYTHON
from tests.server import Server, wait_until
from tools.documents import ROOT
from twins.zoo.models import DEFAULT_MODELS

IMAGE = (ROOT / "examples" / "cat.jpg").read_bytes()  # 39 kB, 451x300 pixels
MODEL = DEFAULT_MODELS["classify"]
CLIENTS = (1, 8, 32)
WARM_UP_S, START_S = 2.0, 120.0
STOP_S = 30.0
INSIDE = "--inside"
NAMESPACE = (
    *("unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child"),
    *("sh", "-c", 'ip link set lo up; exec "$@"', "sh"),
)


@dataclass(frozen=True)
class Contestant:
    """One way to serve, with the arguments of the application if it is Ray's."""

    name: str
    arguments: Sequence[str] | None = None


CONTESTANTS = (
    Contestant("twins serve"),
    Contestant("Ray Serve, 1 replica of 2 cores", ("cpus=2",)),
    Contestant("Ray Serve, 2 replicas of 1 core", ("min_replicas=2", "max_replicas=2")),
)


@contextmanager
def started(contestant: Contestant) -> Iterator[str]:
    """Start a service, and yield its address."""
    if contestant.arguments is None:
        with Server("--device", "cpu", "--model", MODEL) as server:
            yield server.http
        return
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        arguments = (f"models={MODEL}", "device=cpu", *contestant.arguments)
        process = subprocess.Popen(
            [PYTHON.parent / "serve", "run", "service.ray:app", *arguments],
            cwd=ROOT,
            env={**os.environ, **ENVIRON, "RAY_TMPDIR": folder},
            stdout=(Path(folder) / "log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: answers("http://127.0.0.1:8000"), timeout_s=START_S, what=contestant.name)
            yield "http://127.0.0.1:8000"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_S)


def answers(address: str) -> bool:
    """Return whether a service is ready."""
    try:
        return httpx.get(f"{address}/readyz").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def measure(contestant: Contestant, seconds: float) -> dict[int, Load]:
    """Return what each number of clients sees of a service."""
    with started(contestant) as address:
        url = f"{address}/classify"
        closed([url], IMAGE, clients=max(CLIENTS), seconds=WARM_UP_S)
        return {clients: closed([url], IMAGE, clients=clients, seconds=seconds) for clients in CLIENTS}


def rows(rounds: Sequence[dict[str, dict[int, Load]]]) -> Iterator[Row]:
    """Yield the medians of all rounds, and the throughput beside that of `twins serve`."""
    for clients in CLIENTS:
        base = median([each[CONTESTANTS[0].name][clients].rate(200) for each in rounds])
        for name in (contestant.name for contestant in CONTESTANTS):
            loads = [each[name][clients] for each in rounds]
            rate = median([load.rate(200) for load in loads])
            yield {
                "service": name,
                "clients": clients,
                "req/s": round(rate, 1),
                "of twins serve": round(rate / base, 2),
                "p50 ms": round(median([load.percentile_ms(50) or 0.0 for load in loads]), 1),
                "p99 ms": round(median([load.percentile_ms(99) or 0.0 for load in loads]), 1),
                "failed": sum(len(load.answers) - load.count(200) for load in loads),
            }


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def ray_version() -> str:
    """Return the version of Ray in its environment."""
    program = "from importlib import metadata; print(metadata.version('ray'))"
    return subprocess.run([PYTHON, "-c", program], capture_output=True, check=True, text=True).stdout.strip()


@click.command()
@quick_option
@click.option("--seconds", default=8.0, show_default=True, help="Measure each number of clients for this long.")
@click.option("--rounds", default=3, show_default=True, help="Measure so many times, and take the medians.")
@click.option(INSIDE, is_flag=True, hidden=True, help="Run in the network namespace already.")
def main(*, quick: bool, seconds: float, rounds: int, inside: bool) -> None:
    """Run all services, print their figures and write them."""
    if not inside:
        os.execvp(NAMESPACE[0], [*NAMESPACE, sys.executable, "-m", "bench.service.ray", *sys.argv[1:], INSIDE])
    seconds, rounds = (2.0, 1) if quick else (seconds, rounds)
    found = [{each.name: measure(each, seconds) for each in CONTESTANTS} for _ in range(rounds)]
    again = f"python -m bench.service.ray --seconds {seconds:g} --rounds {rounds}"
    result = Result("ray", list(rows(found)), versions={"ray": ray_version()}, command=again)
    result.show()
    result.save(quick=quick)


if __name__ == "__main__":
    main()
