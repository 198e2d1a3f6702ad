"""Measure what a request costs without the network: `python -m bench.service.gateway`.

Frontends serve in front of a worker that answers at once. What counts is the CPU time of each process per image, which
the number of cores of the machine and the clients beside it change little. Writes `docs/benchmarks/gateway.json`.
"""

import time

import click

from bench.result import Result, Row, quick_option
from bench.service import clients
from tests.server import Server
from tools.documents import ROOT

IMAGE = (ROOT / "examples" / "cat.jpg").read_bytes()
FRONTENDS = (1, 2, 4)
CLIENTS = 32
WARM_UP_S = 1.0


def measure(frontends: int, seconds: float) -> Row:
    """Measure a service with this number of frontends."""
    flags = ("--device", "cpu", "--frontends", str(frontends), "--model", "twins_svt_nano")
    with Server(*flags, program="bench.service.null_service") as server:
        urls = [f"{server.http}/classify"]
        clients.closed(urls, IMAGE, clients=CLIENTS, seconds=WARM_UP_S)
        roles = {"worker-0": ("worker-0",), "frontends": [f"frontend-{number}" for number in range(frontends)]}
        before = {name: sum(server.cpu_s(role) for role in some) for name, some in roles.items()}
        began = time.perf_counter()
        load = clients.closed(urls, IMAGE, clients=CLIENTS, seconds=seconds)
        took_s = time.perf_counter() - began
        used = {name: sum(server.cpu_s(role) for role in some) - before[name] for name, some in roles.items()}
    images = load.count(200)
    return {
        "frontends": frontends,
        "images": images,
        "images_per_s": round(images / took_s, 1),
        "frontend_cpu_ms": round(1000 * used["frontends"] / images, 3),
        "worker_cpu_ms": round(1000 * used["worker-0"] / images, 3),
        "images_per_s_and_frontend_core": round(images / used["frontends"], 1),
        "images_per_s_and_worker_core": round(images / used["worker-0"], 1),
        "client_cpu_ms": round(1000 * load.client_cpu_s / images, 3),
    }


@click.command()
@quick_option
@click.option("--seconds", default=5.0, show_default=True, help="Measure each number of frontends for this long.")
def main(*, seconds: float, quick: bool) -> None:
    """Measure, print and write the figures."""
    result = Result("gateway", [measure(count, 1.0 if quick else seconds) for count in FRONTENDS])
    result.show()
    result.save(quick=quick)


if __name__ == "__main__":
    main()
