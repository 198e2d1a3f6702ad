"""Measure the memory of a worker and a frontend for each model: `python -m bench.memory NAME…`.

Models whose weights are not in the package get random weights.
"""

import sys
import tempfile
from pathlib import Path

import httpx
import torch

from tests.golden.cases import seeded_state
from tests.server import Server, wait_until
from tools import tables
from tools.documents import ROOT
from twins.zoo.models import ZOO, Packaged

IMAGE = (ROOT / "examples" / "cat.jpg").read_bytes()
REQUESTS = 3
TIMEOUT_S = 600
TIMEOUTS = ("--request-timeout-s", str(TIMEOUT_S), "--hang-timeout-s", str(TIMEOUT_S))  # large models take a minute


def checkpoint(name: str, folder: Path) -> Path:
    """Write a file with random weights for a model."""
    state = seeded_state([(key, tuple(value.shape)) for key, value in tables.network(ZOO[name]).state_dict().items()])
    file = folder / f"{name}.pth"
    torch.save({"state_dict": state}, file)
    return file


def resident(server: Server, process: str) -> str:
    """Return the resident memory of a process in MB."""
    return f"{server.metric('twins_process_resident_memory_bytes', process=process) / 1e6:.0f}"


def measure(name: str, folder: Path) -> tuple[str, ...]:
    """Measure one model. Return its row of the table."""
    ships = isinstance(ZOO[name].source, Packaged)
    flags = ("--model", name if ships else f"{name}={checkpoint(name, folder)}", "--device", "cpu", *TIMEOUTS)
    with Server(*flags, wait=False) as server:
        wait_until(lambda: server.events("ready"), timeout_s=TIMEOUT_S, what=name)
        started = resident(server, "worker-0")
        for _ in range(REQUESTS):
            httpx.post(f"{server.http}/{ZOO[name].task}", content=IMAGE, timeout=TIMEOUT_S).raise_for_status()
        return f"`{name}`", started, resident(server, "worker-0"), resident(server, "frontend-0")


def main() -> None:
    """Print a table of the models on the command line, or of all models."""
    print(f"| model | worker, loaded | after {REQUESTS} requests | frontend |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or ZOO:
            print(f"| {' | '.join(measure(name, Path(folder)))} |", flush=True)


if __name__ == "__main__":
    main()
