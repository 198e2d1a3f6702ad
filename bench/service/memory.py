"""Measure the memory of a worker and a frontend for each model: `python -m bench.service.memory NAME…`.

Models whose weights are not in the package get random weights.
"""

import sys

import httpx

from bench.models.networks import weights
from tests.server import Server, wait_until
from tools.documents import ROOT
from twins.zoo.models import ZOO

IMAGE = (ROOT / "examples" / "cat.jpg").read_bytes()
REQUESTS = 3
TIMEOUT_S = 600
TIMEOUTS = ("--request-timeout-s", str(TIMEOUT_S), "--hang-timeout-s", str(TIMEOUT_S))  # large models take a minute


def resident(server: Server, process: str) -> str:
    """Return the resident memory of a process in MB."""
    return f"{server.metric('twins_process_resident_memory_bytes', process=process) / 1e6:.0f}"


def measure(name: str) -> tuple[str, ...]:
    """Measure one model. Return its row of the table."""
    flags = ("--model", weights(name).argument, "--device", "cpu", *TIMEOUTS)
    with Server(*flags, wait=False) as server:
        wait_until(lambda: server.events("ready"), timeout_s=TIMEOUT_S, what=name)
        started = resident(server, "worker-0")
        for _ in range(REQUESTS):
            httpx.post(f"{server.http}/{ZOO[name].task}", content=IMAGE, timeout=TIMEOUT_S).raise_for_status()
        return f"`{name}`", started, resident(server, "worker-0"), resident(server, "frontend-0")


def main() -> None:
    """Print a table of the models on the command line, or of all models."""
    print(f"| model | worker, loaded | after {REQUESTS} requests | frontend |\n| --- | --- | --- | --- |")
    for name in sys.argv[1:] or ZOO:
        print(f"| {' | '.join(measure(name))} |", flush=True)


if __name__ == "__main__":
    main()
