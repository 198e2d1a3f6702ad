"""The sweeps of `python -m bench.service.scale`: each changes one thing about a service on the CPU or its load.

The clients run beside the service on the same cores: `client_ms` is the CPU time that they take for a request, which
the service cannot use.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from PIL import Image

from bench.models.networks import weights
from bench.result import Row
from bench.service import clients
from bench.service.clients import Load
from tests.server import Server, wait_until
from tools.documents import ROOT

IMAGE = (ROOT / "examples" / "cat.jpg").read_bytes()
NANO, SMALL, SEGMENTER = "twins_svt_nano", "twins_svt_small", "twins_svt_nano_fpn"
SATURATING = 32  # clients
WARM_UP_S = 1.5
START_S = 600.0
SHORT_QUEUE = 100  # images, which an overload fills within a second


@contextmanager
def service(*flags: str, models: Sequence[str] = (NANO,)) -> Iterator[Server]:
    """Start a service for that block. Models that do not ship get random weights."""
    named = (name if "=" in name else weights(name).argument for name in models)
    arguments = [part for name in named for part in ("--model", name)]
    with Server("--device", "cpu", *arguments, *flags, wait=False) as server:
        wait_until(lambda: server.events("ready"), timeout_s=START_S, what="ready")  # exports networks
        clients.closed([f"{server.http}/classify"], IMAGE, clients=4, seconds=WARM_UP_S)
        yield server


def cpu_s(server: Server) -> dict[str, float]:
    """Return the CPU time of the processes of a service by kind, in seconds."""
    spent = {"frontend": 0.0, "worker": 0.0}
    for role in {event["role"] for event in server.events("started")}:
        spent[role.partition("-")[0]] += server.cpu_s(role)
    return spent


def measure(server: Server, run: Callable[[Sequence[str]], Load], paths: Sequence[str] = ("/classify",)) -> Row:
    """Return the figures of one load."""
    before = cpu_s(server)
    load = run([server.http + path for path in paths])
    spent = {kind: total - before[kind] for kind, total in cpu_s(server).items()}
    answered = max(1, load.count(200))
    p50, p99, refused = load.percentile_ms(50), load.percentile_ms(99), load.percentile_ms(99, 429)
    return {
        "req/s": round(load.rate(200), 1),
        "p50 ms": p50 and round(p50, 1),
        "p99 ms": p99 and round(p99, 1),
        "429/s": round(load.rate(429), 1),
        "429 p99 ms": refused and round(refused, 1),
        "failed": len(load.answers) - load.count(200) - load.count(429),
        "frontend_ms": round(1000 * spent["frontend"] / answered, 2),
        "worker_ms": round(1000 * spent["worker"] / answered, 2),
        "client_ms": round(1000 * load.client_cpu_s / max(1, len(load.answers)), 2),
    }


def closed(
    server: Server, seconds: float, *, number: int = SATURATING, body: bytes = IMAGE, path: str = "/classify"
) -> Row:
    """Return the figures of a closed loop with that number of clients."""
    return measure(server, lambda urls: clients.closed(urls, body, clients=number, seconds=seconds), [path])


def opened(server: Server, seconds: float, rate: float) -> Row:
    """Return the figures of an open loop."""
    return measure(server, lambda urls: clients.opened(urls, IMAGE, rate=rate, seconds=seconds))


def threads(seconds: float) -> Iterator[Row]:
    """Change the threads of the worker, up to four times the number of cores.

    The larger model gets fewer clients and four times as long, so that each client has several answers.
    """
    for model, clients_, times in ((NANO, SATURATING, 1), (SMALL, 8, 4)):
        for number in (1, 2, 4, 8):
            with service("--threads", str(number), models=[model]) as server:
                row = closed(server, times * seconds, number=clients_)
                yield {"model": model, "clients": clients_, "threads": number, **row}


def client_numbers(seconds: float) -> Iterator[Row]:
    """Change the number of clients."""
    with service() as server:
        for number in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            yield {"clients": number, **closed(server, seconds, number=number)}


def sizes(seconds: float) -> Iterator[Row]:
    """Change the size of the image, with eight clients."""
    with service() as server:
        for megapixels in (0.1, 0.5, 1, 3, 6, 12, 24):
            body = enlarged(megapixels)
            row = closed(server, seconds, number=8, body=body)
            yield {"megapixels": megapixels, "kB": len(body) // 1000, **row}


def overlays(seconds: float) -> Iterator[Row]:
    """Change the size of the image that an overlay is painted on, as a PNG for one client."""
    with service(models=[NANO, SEGMENTER]) as server:
        for megapixels in (1, 3, 6, 12, 24):
            body = enlarged(megapixels)
            row = closed(server, seconds, number=1, body=body, path="/segment?format=overlay")
            yield {"megapixels": megapixels, "kB": len(body) // 1000, **row}


def enlarged(megapixels: float) -> bytes:
    """Return the image as a JPEG of that size."""
    with Image.open(io.BytesIO(IMAGE)) as image:
        scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        larger = image.resize((round(image.width * scale), round(image.height * scale)))
    written = io.BytesIO()
    larger.save(written, "JPEG", quality=85)
    return written.getvalue()


def batches(seconds: float) -> Iterator[Row]:
    """Change the batch limit."""
    for limit in (1, 2, 4, 8, 16, 32):
        with service("--max-batch", str(limit)) as server:
            yield {"max_batch": limit, **closed(server, seconds)}


def frontend_numbers(seconds: float) -> Iterator[Row]:
    """Change the number of frontends."""
    for number in (1, 2, 4):
        with service("--frontends", str(number)) as server:
            yield {"frontends": number, **closed(server, seconds)}


def model_numbers(seconds: float) -> Iterator[Row]:
    """Change the number of models that are served and asked in turn."""
    weights = ROOT / "twins" / "weights" / f"{NANO}.safetensors"
    for number in (1, 2, 4, 8):
        names = [f"copy{index}" for index in range(number)]
        with service(models=[f"{name}={weights}" for name in names]) as server:
            paths = [f"/classify?model={name}" for name in names]
            row = measure(
                server, lambda urls: clients.closed(urls, IMAGE, clients=SATURATING, seconds=seconds), paths=paths
            )
            yield {"models": number, **row}


def overload(seconds: float) -> Iterator[Row]:
    """Change the rate at which requests arrive, in open loop, as a multiple of what the service can answer."""
    with service("--max-queue", str(SHORT_QUEUE)) as server:
        peak = max(float(closed(server, seconds, number=number)["req/s"] or 0) for number in (8, 16, SATURATING))
        for multiple in (0.5, 0.8, 1.0, 1.5, 2.0, 3.0):
            yield {
                "multiple": multiple,
                "offered/s": round(multiple * peak),
                "peak/s": peak,
                **opened(server, seconds, multiple * peak),
            }
