"""Memory of a worker and a frontend, by model: `python -m bench.memory NAME…`.

Weights that do not ship are seeded, not trained.
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

PHOTO = (ROOT / "examples" / "cat.jpg").read_bytes()
REQUESTS = 3
PATIENCE_S = 600
PATIENT = ("--request-timeout-s", str(PATIENCE_S), "--hang-timeout-s", str(PATIENCE_S))  # the largest take a minute


def checkpoint(name: str, folder: Path) -> Path:
    """A file with all of a model's weights."""
    state = seeded_state([(key, tuple(value.shape)) for key, value in tables.network(ZOO[name]).state_dict().items()])
    file = folder / f"{name}.pth"
    torch.save({"state_dict": state}, file)
    return file


def resident(server: Server, process: str) -> str:
    """A process's memory in MB."""
    return f"{server.metric('twins_process_resident_memory_bytes', process=process) / 1e6:.0f}"


def measured(name: str, folder: Path) -> tuple[str, ...]:
    """One model's line."""
    ships = isinstance(ZOO[name].source, Packaged)
    flags = ("--model", name if ships else f"{name}={checkpoint(name, folder)}", "--device", "cpu", *PATIENT)
    with Server(*flags, wait=False) as server:
        wait_until(lambda: server.events("ready"), timeout_s=PATIENCE_S, what=name)
        started = resident(server, "worker-0")
        for _ in range(REQUESTS):
            httpx.post(f"{server.http}/{ZOO[name].task}", content=PHOTO, timeout=PATIENCE_S).raise_for_status()
        return f"`{name}`", started, resident(server, "worker-0"), resident(server, "frontend-0")


def main() -> None:
    """Prints a table of the models named, or of all."""
    print(f"| model | worker, loaded | after {REQUESTS} requests | frontend |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or ZOO:
            print(f"| {' | '.join(measured(name, Path(folder)))} |", flush=True)


if __name__ == "__main__":
    main()
