"""`twins load` measures a running service."""

import asyncio
import io
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec
import numpy as np
from PIL import Image
from rich.console import Console
from rich.live import Live
from rich.table import Table

from service.cli.images import EXIT_SOME_FAILED, expand
from service.cli.tls import tls_options
from service.load.generator import Generator
from service.load.report import PERCENTILES, Report, Requests, percentiles, requests_after, summarise
from service.load.schedule import Closed, Open, Schedule
from service.load.target import SUCCEEDED, RequestPlan, Target
from twins.errors import BadOption

REFRESH_S = 0.5
DEFAULT_PATH = "/classify"
INSTALL = "it is not installed; install it with pip install 'twins-serving[load]'"


@dataclass(frozen=True)
class Run:
    """One run of the generator: its first seconds only warm the service up."""

    plan: RequestPlan
    schedule: Schedule
    seconds: float
    warm_up_s: float


def read_option(_: click.Context, __: click.Parameter, values: Sequence[str]) -> Mapping[str, str]:
    """Return the options NAME=VALUE by name."""
    pairs = [value.partition("=") for value in values]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        raise click.BadParameter(f"{wrong[0]} is not of the form NAME=VALUE")
    return {name: value for name, _, value in pairs}


@click.command()
@click.argument("url")
@click.option("--images", type=click.Path(path_type=Path), help="Send this image, or the images of this folder in turn")
@click.option(
    "--clients", type=click.IntRange(1, 4096), default=8, show_default=True, help="Send from this many clients at once"
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Send this many requests per second at random times, whatever the answers take, instead of from clients",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Choose the random times of --rate by this number")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, help="Measure for this long"
)
@click.option(
    "--warm-up-s",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Send for this long before the measurement",
)
@click.option(
    "--option",
    "options",
    metavar="NAME=VALUE",
    multiple=True,
    callback=read_option,
    help="Send this option of the task, such as model=NAME or top_k=1",
)
@click.option("--accept", metavar="TYPE", help="Ask for answers of this media type over HTTP, such as image/png")
@click.option("--api-key", envvar="API_KEY", help="Send this API key. [API_KEY]")
@click.option("--deadline-s", type=click.FloatRange(0, min_open=True), help="Ask for an answer within this time")
@click.option(
    "--timeout-s",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Count a request as failed after this time",
)
@tls_options
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, for programs")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a plot to this SVG, PNG or PDF")
def load(  # noqa: PLR0913 - one for each flag
    url: str,
    *,
    images: Path | None,
    clients: int,
    rate: float | None,
    seed: int,
    seconds: float,
    warm_up_s: float,
    as_json: bool,
    plot: Path | None,
    **request: Any,
) -> None:
    """Measure the service at URL: its throughput, its latency and its errors.

    URL is http://HOST:PORT/TASK or grpc://HOST:PORT/TASK, over TLS https://… or grpcs://…. Without --images, one
    generated image is sent.

    \b
    twins load http://localhost:8000/classify
    twins load http://localhost:8000/segment --images images/ --rate 20 --plot load.svg
    twins load grpc://localhost:8001/classify --clients 32 --json
    """  # noqa: D301 - click wants the control character
    schedule = Open(rate, seed) if rate else Closed(clients)
    plan = RequestPlan(with_task(url), connections=max(clients, RequestPlan.connections), **request)
    run = Run(plan, schedule, seconds, warm_up_s)
    drawing = import_plot() if plot else None
    found, report = asyncio.run(measure(run, read(images), Console(stderr=True, quiet=as_json)))
    click.echo(msgspec.json.encode(report)) if as_json else write(report)
    if drawing and plot:
        drawing(found, report, plot)
    if not report.succeeded:
        sys.exit(EXIT_SOME_FAILED)


def with_task(url: str) -> str:
    """Return the URL, with the path of a task if it has none. Raise BadOption if it is of another kind."""
    parts = urlsplit(url)
    if parts.scheme not in TARGETS or not parts.netloc:
        raise BadOption(f"{url}: the URL must start with {', '.join(f'{each}://' for each in TARGETS)} and name a host")
    return parts._replace(path=DEFAULT_PATH).geturl() if parts.path in ("", "/") else url


def open_rest(plan: RequestPlan) -> Target:
    """Return a target over HTTP. Raise BadOption if its library is not installed."""
    try:
        from service.load.rest import RestTarget  # late: an extra brings the library
    except ModuleNotFoundError as error:
        raise BadOption(f"HTTP needs the package {error.name}; {INSTALL}") from error
    return RestTarget(plan)


def open_rpc(plan: RequestPlan) -> Target:
    """Return a target over gRPC."""
    from service.load.rpc import RpcTarget  # late: HTTP does not need gRPC

    return RpcTarget(plan)


TARGETS = {"http": open_rest, "https": open_rest, "grpc": open_rpc, "grpcs": open_rpc}
"""By the scheme of the URL."""


def import_plot() -> Any:
    """Return the function that draws. Raise BadOption if its library is not installed."""
    try:
        from service.load.plot import draw  # late: an extra brings the library
    except ModuleNotFoundError as error:
        raise BadOption(f"--plot needs the package {error.name}; {INSTALL}") from error
    return draw


def read(images: Path | None) -> list[bytes]:
    """Return the images of a folder, one image, or a generated one. Raise UsageError if there are none."""
    return [path.read_bytes() for path in expand([str(images)])] if images else [generated()]


def generated() -> bytes:
    """Return a JPEG of 640 by 480 pixels that is as large as a usual one of that size."""
    coarse = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()


async def measure(run: Run, images: Sequence[bytes], screen: Console) -> tuple[Requests, Report]:
    """Run the generator with a live display. SIGINT ends the run early."""
    target = TARGETS[urlsplit(run.plan.url).scheme](run.plan)
    generator = Generator(target, images)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, generator.stop)
    total = run.warm_up_s + run.seconds
    cpu = time.process_time()
    try:
        with Live(console=screen, auto_refresh=False, transient=True) as live:
            showing = asyncio.create_task(show(live, generator, total))
            await generator.run(run.schedule, seconds=total)
            showing.cancel()
            with suppress(asyncio.CancelledError):
                await showing
    finally:
        await target.close()
    measured_s = min(generator.elapsed_s, total) - run.warm_up_s
    found = requests_after(generator.recorder, run.warm_up_s)
    share = len(found.due_s) / max(1, len(generator.recorder))
    return found, summarise(
        found,
        url=run.plan.url,
        schedule=describe(run.schedule),
        seconds=measured_s,
        cpu_s=(time.process_time() - cpu) * share,
    )


def describe(schedule: Schedule) -> str:
    """Return a schedule in words."""
    if isinstance(schedule, Closed):
        return f"closed loop, {schedule.clients} clients"
    return f"open loop, {schedule.rate:g} requests/s"


async def show(live: Live, generator: Generator, total_s: float) -> None:
    """Print the progress until cancelled."""
    seen = 0
    while True:
        await asyncio.sleep(REFRESH_S)
        recorder = generator.recorder
        recent = np.array(recorder.latency[seen:])
        failed = sum(code != 0 for code in recorder.outcome[seen:])
        seen = len(recorder)
        p99 = percentiles(recent).get("p99", 0.0)
        live.update(
            f"{generator.elapsed_s:5.1f} of {total_s:g} s   {len(recent) / REFRESH_S:7.1f} answers/s   "
            f"p99 {p99:8.1f} ms   {generator.in_flight} in flight   {failed} failed",
            refresh=True,
        )


def write(report: Report) -> None:
    """Print a report for a person."""
    screen = Console()
    screen.print(f"{report.url}: {report.schedule}, {report.seconds:g} s", highlight=False, soft_wrap=True)
    screen.print(
        f"{report.throughput:.1f} answers/s, {report.succeeded} of {report.requests} requests {SUCCEEDED}",
        highlight=False,
    )
    table = Table(box=None)
    for name in ("milliseconds", *PERCENTILES):
        table.add_column(name, justify="right")
    for name, values in (("latency", report.latency_ms), ("sent late", report.late_ms)):
        if values:
            table.add_row(name, *(f"{values[key]:.1f}" for key in PERCENTILES))
    screen.print(table)
    for code, count in report.errors.items():
        screen.print(f"{count} failed: {code}", highlight=False)
