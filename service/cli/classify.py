"""`twins classify`: images through a model, here, without a server."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from service.cli.images import EXIT_SOME_FAILED, ImageResult, expand, open_runner, run
from twins.card import TOP_K_LIMIT, Card
from twins.tasks.classify import CLASSIFY, ClassifyOptions, Prediction
from twins.zoo.models import DEFAULT_MODELS


@dataclass(frozen=True)
class Line:
    """One image's outcome."""

    file: str
    predictions: tuple[Prediction, ...] = ()
    error: str | None = None


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--model", default=DEFAULT_MODELS["classify"], show_default=True, help="NAME, or NAME=FILE")
@click.option("--labels", type=click.Path(path_type=Path), help="class names of a checkpoint of your own, one a line")
@click.option("--top-k", type=click.IntRange(1, TOP_K_LIMIT), default=5, show_default=True, help="classes an image")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N")
@click.option("--batch", type=click.IntRange(1, 1024), default=8, show_default=True, help="images run together")
@click.option("--json", "as_json", is_flag=True, help="a JSON object a line, for programs")
def classify(  # noqa: PLR0913 - one for each flag
    images: tuple[str, ...], *, model: str, labels: Path | None, top_k: int, device: str, batch: int, as_json: bool
) -> None:
    """Classifies files, all images of folders, and `-` for standard input.

    \b
    twins classify cat.jpg
    twins classify --json photos/ > answers.jsonl
    """  # noqa: D301 - click wants the control character
    files = expand(images)
    runner = open_runner(model, labels, device, "classify")
    options = ClassifyOptions(top_k)
    failed = 0
    found = run(files, runner, options, batch)
    for ran in track(found, "classifying", len(files), console=Console(stderr=True), disable=not watched(files)):
        line = finish(ran, runner.card, options)
        failed += line.error is not None
        write_json(line) if as_json else write_table(line)
    if failed:
        sys.exit(EXIT_SOME_FAILED)


def watched(files: Sequence[Path]) -> bool:
    """Whether somebody would look at a progress bar."""
    return len(files) > 1 and sys.stderr.isatty() and not sys.stdout.isatty()


def finish(ran: ImageResult, card: Card, options: ClassifyOptions) -> Line:
    """A file's classes, or its error."""
    if ran.output is None:
        return Line(str(ran.path), error=ran.error)
    return Line(str(ran.path), CLASSIFY.postprocess(ran.output, card, options).predictions)


def write_json(line: Line) -> None:
    """One object."""
    click.echo(msgspec.json.encode(line))


def write_table(line: Line) -> None:
    """One image's classes as a person reads them."""
    if line.error is not None:
        click.echo(f"{line.file}: {line.error}", err=True)
        return
    click.echo(line.file)  # not as the table's title, which would be folded to the table's width
    table = Table(box=None, show_header=False)
    for prediction in line.predictions:
        bar = "█" * round(prediction.score * 20)
        table.add_row(f"{prediction.score:.3f}", prediction.label, bar)
    Console().print(table)
