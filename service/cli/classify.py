"""`twins classify` prints the classes of images, without a server."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from service.cli.images import EXIT_SOME_FAILED, ImageResult, expand, open_model, run
from service.cli.options import json_option, run_options, task_options
from twins.card import Card
from twins.running import BackendChoice
from twins.runtime.plan import Plan
from twins.tasks.classify import CLASSIFY, ClassifyOptions, Prediction


@dataclass(frozen=True)
class Line:
    """The result of one image."""

    file: str
    predictions: tuple[Prediction, ...] = ()
    error: str | None = None


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@task_options(ClassifyOptions)
@run_options(CLASSIFY, batch=8)
@json_option
def classify(  # noqa: PLR0913 - one for each flag
    images: tuple[str, ...],
    *,
    model: str,
    labels: Path | None,
    device: str,
    backend: BackendChoice,
    batch: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Classify files, all images in folders, and `-`, standard input.

    \b
    twins classify cat.jpg
    twins classify --json images/ > answers.jsonl
    """  # noqa: D301 - click wants the control character
    files = expand(images)
    local = click.get_current_context().with_resource(
        open_model(model, labels, Plan(device, backend=backend), batch=batch, task=CLASSIFY)
    )
    wanted = ClassifyOptions(**options)
    failed = 0
    found = run(files, local, CLASSIFY, wanted)
    for ran in track(found, "classifying", len(files), console=Console(stderr=True), disable=not shows_progress(files)):
        line = finish(ran, local.card, wanted)
        failed += line.error is not None
        click.echo(msgspec.json.encode(line)) if as_json else write_table(line)
    if failed:
        sys.exit(EXIT_SOME_FAILED)


def shows_progress(files: Sequence[Path]) -> bool:
    """Return whether to show a progress bar."""
    return len(files) > 1 and sys.stderr.isatty() and not sys.stdout.isatty()


def finish(ran: ImageResult, card: Card, options: ClassifyOptions) -> Line:
    """Return the classes of an image, or its error."""
    if ran.output is None:
        return Line(str(ran.path), error=ran.error)
    return Line(str(ran.path), CLASSIFY.postprocess(ran.output, card, options).predictions)


def write_table(line: Line) -> None:
    """Print the classes of one image for a person."""
    if line.error is not None:
        click.echo(f"{line.file}: {line.error}", err=True)
        return
    click.echo(line.file)  # the title of a table would be folded to the table's width
    table = Table(box=None, show_header=False)
    for prediction in line.predictions:
        bar = "█" * round(prediction.score * 20)
        table.add_row(f"{prediction.score:.3f}", prediction.label, bar)
    Console().print(table)
