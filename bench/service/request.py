"""Measures the processor time of a request: `python -m bench.service.request`.

Starts the service on the CPU and sends it the same image over and over, from 1, 8 and 32 clients that each wait for
their answer. Prints the processor time that the frontend and the worker take for a request, beside the same work
called directly in this process: decode and preprocess, and forward in a batch of each size that the service can form.
Direct calls and loads alternate, so that a machine that is slow for a while is slow for all of them.

`--profile FILE` records the frontend under the last load with py-spy, as a flame graph or, for a name that ends in
`.txt`, as collapsed stacks.
"""

import json
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import grpc

from service.cores import shares
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.settings import Settings
from tests.server import Server
from tools.documents import ROOT
from twins.images.decode import Limits, decode
from twins.runtime.choice import choose_device, open_backend
from twins.runtime.plan import Plan
from twins.tasks import TASKS
from twins.tasks.sample import Sample
from twins.zoo.hub import resolve
from twins.zoo.models import DEFAULT_MODELS, ModelReference

IMAGE = (ROOT / "examples" / "cat.jpg").read_bytes()  # 39 kB, 451x300 pixels
TASK = "classify"
CLIENTS = (1, 8, 32)
BATCHES = (1, 8)
ROUNDS = 7  # in which direct calls and loads alternate
BOUNDARY = b"-----------------------bench"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

Send = Callable[[], None]
"""Sends one request and returns when its answer has arrived."""


@dataclass(frozen=True)
class Direct:
    """The work of one image called directly. Times are in milliseconds; those of a batch are per image."""

    prepare_cpu: float  # decode and preprocess
    prepare_p50: float
    forward_cpu: dict[int, float]  # by batch size
    forward_p50: dict[int, float]


@dataclass(frozen=True)
class Load:
    """The requests of some clients in one interval. Times are in milliseconds per request."""

    clients: int
    requests: int
    per_s: float
    frontend_cpu: float
    worker_cpu: float
    p50: float
    p99: float


@contextmanager
def http_client(server: Server) -> Iterator[Send]:
    """Open a connection of its own for a client, which sends the image as `curl -F image=@cat.jpg` does."""
    host, _, port = server.http.removeprefix("http://").partition(":")
    head = b'Content-Disposition: form-data; name="image"; filename="cat.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = b"--" + BOUNDARY + b"\r\n" + head + IMAGE + b"\r\n--" + BOUNDARY + b"--\r\n"
    lines = (
        f"POST /{TASK} HTTP/1.1",
        f"Host: {host}:{port}",
        "User-Agent: bench",
        "Accept: */*",
        f"Content-Length: {len(body)}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}",
    )
    request = "\r\n".join([*lines, "", ""]).encode() + body
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            connection.sendall(request)
            answer = b""
            while not (head := answer.partition(b"\r\n\r\n"))[1] or len(head[2]) < length(head[0]):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer

        yield send


def length(head: bytes) -> int:
    """Return the length of the body that the headers announce."""
    found = LENGTH.search(head)
    assert found, head
    return int(found[1])


@contextmanager
def grpc_client(server: Server) -> Iterator[Send]:
    """Open a channel of its own for a client."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.grpc, options=options) as channel:
        call, request = pb_grpc.TwinsStub(channel).Classify, pb.ClassifyRequest(image=IMAGE)
        yield lambda: call(request) and None


OPENERS = {"http": http_client, "grpc": grpc_client}


def in_closed_loop(server: Server, protocol: str, clients: int, seconds: float) -> list[float]:
    """Send requests from some clients for a while. Return the time that each took in milliseconds."""
    until, times = time.perf_counter() + seconds, list[float]()

    def run() -> None:
        with OPENERS[protocol](server) as send:
            while (began := time.perf_counter()) < until:
                send()
                times.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def load(server: Server, protocol: str, clients: int, seconds: float) -> Load:
    """Return what the requests of some clients cost."""
    roles = ("frontend-0", "worker-0")
    before, began = [server.cpu_s(role) for role in roles], time.perf_counter()
    times = in_closed_loop(server, protocol, clients, seconds)
    elapsed = time.perf_counter() - began
    frontend, worker = ((server.cpu_s(role) - old) * 1000 / len(times) for role, old in zip(roles, before, strict=True))
    p99 = statistics.quantiles(times, n=100)[98]
    return Load(clients, len(times), len(times) / elapsed, frontend, worker, statistics.median(times), p99)


def timed(function: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Call a function for a while. Return its mean processor time and its median time in milliseconds."""
    until, times, cpu = time.perf_counter() + seconds, list[float](), time.process_time()
    while (began := time.perf_counter()) < until:
        function()
        times.append((time.perf_counter() - began) * 1000)
    return (time.process_time() - cpu) * 1000 / len(times), statistics.median(times)


class DirectCalls:
    """The same model in this process, without a service."""

    def __init__(self, model: str) -> None:
        cores = shares(Settings(device=("cpu",)))
        plan = Plan(choose_device("cpu"), threads=cores.worker_threads, small_threads=cores.small_threads)
        self.model = open_backend(plan).load(resolve(ModelReference(model)))
        for size in BATCHES:
            self.model.warm_up(size)

    def prepare(self) -> Sample:
        """Return the sample of the image."""
        card, task = self.model.card, TASKS[TASK]
        smallest_size = partial(task.smallest_size, card=card)
        image = decode(IMAGE, Limits(), exif_orientation=card.exif_orientation, smallest_size=smallest_size)
        return task.preprocess(image, card, task.options())

    def measure(self, seconds: float) -> Direct:
        """Return what the work of one image costs."""
        samples = [self.prepare()] * max(BATCHES)
        prepared = timed(self.prepare, seconds)
        forward = {size: timed(lambda size=size: self.model.run(samples[:size]), seconds) for size in BATCHES}
        return Direct(
            *prepared,
            {size: cpu / size for size, (cpu, _) in forward.items()},
            {size: p50 / size for size, (_, p50) in forward.items()},
        )


def medians(found: Sequence[Direct]) -> Direct:
    """Return the medians of several measurements."""
    return Direct(
        statistics.median(each.prepare_cpu for each in found),
        statistics.median(each.prepare_p50 for each in found),
        {size: statistics.median(each.forward_cpu[size] for each in found) for size in BATCHES},
        {size: statistics.median(each.forward_p50[size] for each in found) for size in BATCHES},
    )


def middle(loads: Sequence[Load], clients: int) -> Load:
    """Return the load of that number of clients in which the frontend took the median time."""
    chosen = sorted((each for each in loads if each.clients == clients), key=lambda each: each.frontend_cpu)
    return chosen[len(chosen) // 2]


@contextmanager
def profiled(server: Server, file: Path, seconds: float) -> Iterator[None]:
    """Record the frontend with py-spy during the block."""
    form = "raw" if file.suffix == ".txt" else "flamegraph"
    options = ("--duration", str(round(seconds)), "--rate", "500", "--gil", "--threads", "--format", form)
    command = [
        str(Path(sys.executable).with_name("py-spy")),
        "record",
        "--pid",
        str(server.pid("frontend-0")),
        "--output",
        str(file),
        *options,
    ]
    recorder = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    yield
    recorder.wait()


def report(direct: Direct, loads: Sequence[Load]) -> None:
    """Print the figures as tables."""
    forwards = " | ".join(f"forward, batch {size}" for size in BATCHES)
    cells = " | ".join(f"{direct.forward_cpu[size]:.2f} / {direct.forward_p50[size]:.2f}" for size in BATCHES)
    print(f"| called directly, ms an image (CPU / p50) | decode + preprocess | {forwards} |")
    print(f"| --- |{' --- |' * (1 + len(BATCHES))}")
    print(f"| | {direct.prepare_cpu:.2f} / {direct.prepare_p50:.2f} | {cells} |\n")
    print("| clients | req/s | frontend, CPU ms | by decode + preprocess | worker, CPU ms | p50 | p99 | p50 beyond |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for each in loads:
        beyond = each.p50 - direct.prepare_p50 - direct.forward_p50[1]
        cells = (each.frontend_cpu, each.frontend_cpu / direct.prepare_cpu, each.worker_cpu, each.p50, each.p99, beyond)
        print(f"| {each.clients} | {each.per_s:.1f} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")


@click.command()
@click.option("--model", default=DEFAULT_MODELS[TASK], show_default=True, help="Serve this model.")
@click.option("--protocol", type=click.Choice(list(OPENERS)), default="http", show_default=True)
@click.option("--clients", multiple=True, type=int, default=CLIENTS, show_default=True)
@click.option("--seconds", default=1.5, show_default=True, help="Measure each load for this long in a round.")
@click.option(
    "--profile", type=click.Path(path_type=Path), help="Record the frontend under the last load to this file."
)
def main(model: str, protocol: str, clients: tuple[int, ...], seconds: float, profile: Path | None) -> None:
    """Measure a service and print the figures, and the same figures as one JSON object."""
    directly, direct, loads = DirectCalls(model), list[Direct](), list[Load]()
    with Server("--device", "cpu", "--model", model) as server:
        in_closed_loop(server, protocol, max(clients), seconds / 4)
        for _ in range(ROUNDS):
            direct.append(directly.measure(seconds / 8))
            loads += [load(server, protocol, count, seconds) for count in clients]
        with profiled(server, profile, seconds) if profile else nullcontext():
            in_closed_loop(server, protocol, clients[-1], seconds) if profile else None
    report(medians(direct), [middle(loads, number) for number in clients])
    print(json.dumps({"direct": [asdict(each) for each in direct], "loads": [asdict(each) for each in loads]}))


if __name__ == "__main__":
    main()
