"""The tables of docs/scale.md: what many images a second need, and what the simulations found.

What one image costs is measured and read from `docs/benchmarks`; what a GPU computes is published. The assumptions are
constants here, and the page names them.
"""

import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.result import cell
from bench.simulation.routing import POLICIES
from tools.documents import DOCS, ROOT
from tools.markdown import table

Row = Mapping[str, Any]

RATES = (1_000, 1_000_000)  # images a second
ZONES = 3  # of which one may fail
GPU_USE, CORE_USE, LINK_USE = 0.8, 0.6, 0.5  # of what is there while everything works or one zone is lost
GPUS_PER_HOST = 8
SIDE = 224  # of the input of twins_svt_small
ANSWER_BYTES = 1_000  # with its headers; an assumption
LINK_BITS = 25e9  # of a host; an assumption
SVT_SMALL_BYTES, LARGEST_BYTES = 96.3e6, 526e6  # of the file of twins_svt_small, and of the largest of the zoo
PULL_BITS, IMAGE_BYTES = 10e9, 3e9  # of a registry or a volume, and of the container for GPUs; assumptions
PRICES = {"GPU": 2.00, "core": 0.04}  # an hour; examples, no quotation


@dataclass(frozen=True)
class Gpu:
    """What a GPU computes of twins_svt_small at 224 pixels, as others published it."""

    name: str
    images_per_s: float
    source: str


GPUS = (
    Gpu("V100", 1059, "the paper, batches of 192"),
    Gpu("RTX 3090", 2734, "timm, PyTorch 2.4, mixed precision"),
    Gpu("RTX 4090", 5522, "timm, PyTorch 2.9.1, mixed precision, compiled"),
    Gpu("RTX Pro 6000", 10120, "timm, PyTorch 2.9.1, bfloat16, compiled"),
)


def rows(folder: str, name: str) -> list[Row]:
    """Return the rows of a result."""
    found: list[Row] = json.loads((DOCS / folder / f"{name}.json").read_text("utf-8"))["rows"]
    return found


def gateway_ms(process: str) -> float:
    """Return the processor time of a process for an image of the example, without the network."""
    return statistics.median(float(row[f"{process}_cpu_ms"]) for row in rows("benchmarks", "gateway"))


@dataclass(frozen=True)
class Encoded:
    """An image as clients send it: its name, its bytes, and the processor time of the frontend for it."""

    name: str
    size_bytes: float
    frontend_ms: float


def encoded() -> list[Encoded]:
    """Return the image of the examples, and larger ones."""
    example = Encoded("0.14 MP", (ROOT / "examples" / "cat.jpg").stat().st_size, gateway_ms("frontend"))
    sizes = (row for row in rows("benchmarks", "scale-sizes") if row["megapixels"] in (1, 3, 12))
    return [example, *(Encoded(f"{row['megapixels']} MP", 1000 * row["kB"], row["frontend_ms"]) for row in sizes)]


# ---------------------------------------------------------------------- what is needed


def unit() -> str:
    """Return the table of what one image costs."""
    return table(("of one image", "measured", "source"), unit_rows())


def unit_rows() -> Iterator[tuple[str, ...]]:
    """Yield what one image costs, and where that was measured."""
    for image in encoded():
        source = "gateway" if image.name == "0.14 MP" else "scale-sizes"
        what = f"frontend, JPEG of {image.name} and {image.size_bytes / 1000:.0f} kB"
        yield what, f"{image.frontend_ms:.1f} ms of a core", linked(source)
    yield "worker without the network", f"{gateway_ms('worker'):.2f} ms of a core", linked("gateway")
    yield "forward of `twins_svt_small` on one core", f"{1000 / core_rate():.0f} ms of a core", linked("forward")
    yield "sample between two processes", f"{sample_bytes() / 1000:.0f} kB", f"{SIDE} × {SIDE} × 3 bytes"


def linked(name: str) -> str:
    """Return a link to a result."""
    return f"[{name}](benchmarks/{name}.json)"


def core_rate() -> float:
    """Return how many images a second one core runs through twins_svt_small, at its best batch."""
    found = (row for row in rows("benchmarks", "forward") if row["model"] == "twins_svt_small" and row["threads"] == 1)
    return max(float(row["ours"]) for row in found)


def sample_bytes() -> float:
    """Return the bytes of a sample of twins_svt_small."""
    return SIDE * SIDE * 3


def need() -> str:
    """Return the table of what each rate needs."""
    head = ("what", *(f"{rate:,} images/s" for rate in RATES))
    return table(head, ((what, *(f"{amount(rate):,}" for rate in RATES)) for what, amount in NEEDS.items()))


def spared(amount: float) -> int:
    """Return how many there must be so that the zones that are left suffice when one is lost."""
    return ZONES * math.ceil(amount / (ZONES - 1))


def gpus(gpu: Gpu, rate: float) -> int:
    """Return how many GPUs a rate needs."""
    return spared(rate / (GPU_USE * gpu.images_per_s))


def cores(ms: float, rate: float) -> int:
    """Return how many cores a rate needs."""
    return spared(rate * ms / 1000 / CORE_USE)


def links(rate: float) -> int:
    """Return how many links the images of the examples and their answers fill."""
    return spared(rate * 8 * (encoded()[0].size_bytes + ANSWER_BYTES) / (LINK_USE * LINK_BITS))


NEEDS: dict[str, Callable[[float], int]] = {
    **{f"GPUs, {gpu.name}, SVT-S ({gpu.source})": partial(gpus, gpu) for gpu in GPUS},
    **{f"frontend cores, JPEG of {image.name}": partial(cores, image.frontend_ms) for image in encoded()},
    "worker cores beside the GPUs": partial(cores, gateway_ms("worker")),
    "cores instead of GPUs, SVT-S": partial(cores, 1000 / core_rate()),
    f"links of {LINK_BITS / 1e9:.0f} Gbit/s for images of 39 kB": links,
    "Gbit/s between frontends and workers": lambda rate: math.ceil(rate * 8 * sample_bytes() / 1e9),
}
"""By what is needed: how much of it, by the rate."""


def decode() -> str:
    """Return the table of the cores that decode for one GPU."""
    images = encoded()
    head = ("GPU", "images/s at 80 %", *(f"cores, {image.name}" for image in images), "Gbit/s, 0.14 MP")
    return table(head, (decode_row(gpu, images) for gpu in GPUS))


def decode_row(gpu: Gpu, images: Sequence[Encoded]) -> tuple[str, ...]:
    """Return what must stand in front of one GPU so that it is busy."""
    rate = GPU_USE * gpu.images_per_s
    each = (f"{rate * image.frontend_ms / 1000 / CORE_USE:.0f}" for image in images)
    return gpu.name, f"{rate:.0f}", *each, f"{rate * images[0].size_bytes * 8 / 1e9:.2f}"


def weights() -> str:
    """Return the table of what is copied when all hosts start, by the rate and the largest of the GPUs."""
    head = ("what each host gets", "MB", *(f"{hosts(rate):,} hosts for {rate:,} images/s" for rate in RATES))
    sizes = {
        "the container for GPUs": IMAGE_BYTES,
        "`twins_svt_small`": SVT_SMALL_BYTES,
        "the largest model of the zoo": LARGEST_BYTES,
    }
    found = ((name, f"{size / 1e6:,.0f}", *(copies(size, rate) for rate in RATES)) for name, size in sizes.items())
    return table(head, found)


def hosts(rate: float) -> int:
    """Return how many hosts with GPUs a rate needs, as many in each zone."""
    return ZONES * math.ceil(gpus(GPUS[0], rate) / ZONES / GPUS_PER_HOST)


def copies(size_bytes: float, rate: float) -> str:
    """Return what all hosts read, and how long one source takes to send it."""
    total = hosts(rate) * size_bytes
    return f"{total / 1e9:,.1f} GB, {total * 8 / PULL_BITS / 60:,.2f} min"


def cost() -> str:
    """Return the table of the cost of a million images."""
    head = ("GPU", "GPU-hours", "core-hours, 0.14 MP", "core-hours, 3 MP", "example, 0.14 MP", "example, 3 MP")
    return table(head, map(cost_row, GPUS))


def cost_row(gpu: Gpu) -> tuple[str, ...]:
    """Return what a million images take of one kind of GPU and of its cores, with the spare zone."""
    spare = ZONES / (ZONES - 1)
    gpu_h = spare * 1e6 / (GPU_USE * gpu.images_per_s) / 3600
    small, _, large, *_ = encoded()
    core_h = [
        spare * 1e6 * (image.frontend_ms + gateway_ms("worker")) / 1000 / CORE_USE / 3600 for image in (small, large)
    ]
    prices = [gpu_h * PRICES["GPU"] + each * PRICES["core"] for each in core_h]
    return (gpu.name, f"{gpu_h:.3f}", *(f"{each:.2f}" for each in core_h), *(f"{price:.2f}" for price in prices))


# ---------------------------------------------------------------------- what was simulated


def check() -> str:
    """Return the table of the simulation beside the service."""
    names = ("mean", "p50", "p95", "p99")
    head = (
        "device",
        "workers",
        "utilisation",
        "images",
        *(f"{name}, ms" for name in names),
        "errors, predicted",
        "errors, replayed",
    )
    return table(head, (check_row(row, names) for row in rows("scale", "check")))


def check_row(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    """Return the waits of a load as they were measured, and the errors of both simulations."""
    shown = (f"{row[f'{name}, measured']:.1f}" for name in names)
    predicted, replayed = (
        ", ".join(f"{row[f'{name}, {kind}, error']:+.0%}" for name in names) for kind in ("predicted", "replayed")
    )
    return (
        row["device"],
        str(row["workers"]),
        f"{row['utilisation']:.0%}",
        f"{row['images']:,}",
        *shown,
        predicted,
        replayed,
    )


def policies(name: str) -> str:
    """Return a table of all policies at 80 % utilisation."""
    found = simulated(name)
    names = [name for name in found[0] if name not in ("table", "policy")]
    texts = ((f"`{row['policy']}`", POLICIES[row["policy"]].text) for row in found)
    shown = ((*text, *(cell(row[name]) for name in names)) for text, row in zip(texts, found, strict=True))
    return table(("policy", "an image goes to", *names), shown)


def plain(name: str) -> str:
    """Return the table of some rows as they are."""
    found = simulated(name)
    head = [key for key in found[0] if key != "table"]
    return table(head, ([number(row[key]) for key in head] for row in found))


def number(value: object) -> str:
    """Return a value as the tables show it, counts with separators."""
    return f"{value:,}" if isinstance(value, int) else cell(value)


def sweep() -> str:
    """Return the table of the mean wait by utilisation and policy."""
    found = simulated("sweep")
    names = list(dict.fromkeys(row["policy"] for row in found))
    levels = list(dict.fromkeys(row["utilisation"] for row in found))
    by = {(row["policy"], row["utilisation"]): f"{row['mean ms']:.1f} / {row['p99 ms']:.1f}" for row in found}
    head = ("mean / p99, ms", *(f"{level:.0%}" for level in levels))
    return table(head, ((f"`{name}`", *(by[name, level] for level in levels)) for name in names))


def simulated(name: str) -> list[Row]:
    """Return the rows of one table of the simulation."""
    return [row for row in rows("scale", "thousand") if row["table"] == name]


TABLES: dict[str, Callable[[], str]] = {
    "scale-unit": unit,
    "scale-need": need,
    "scale-decode": decode,
    "scale-weights": weights,
    "scale-cost": cost,
    "scale-check": check,
    "scale-policies": partial(policies, "policies"),
    "scale-timed": partial(policies, "timed"),
    "scale-sweep": sweep,
    "scale-skew": partial(plain, "skew"),
    "scale-failures": partial(plain, "failures"),
}
