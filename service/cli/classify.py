"""`twins classify`: pictures through a model, here, without a server."""

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from twins import image, zoo
from twins.card import TOP_K_LIMIT, Card
from twins.errors import TwinsError
from twins.image import ImageError, Limits
from twins.tasks import classify as task
from twins.tasks.sample import Sample

if TYPE_CHECKING:
    from twins.runner import Runner

EXIT_SOME_FAILED = 1
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}  # looked for in folders
STDIN = Path("-")


@dataclass(frozen=True)
class Line:
    """One picture's outcome."""

    file: str
    predictions: tuple[task.Prediction, ...] = ()
    error: str | None = None


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--model", default=zoo.DEFAULT, show_default=True, help="NAME, or NAME=FILE")
@click.option("--labels", type=click.Path(path_type=Path), help="class names of a checkpoint of your own, one a line")
@click.option("--top-k", type=click.IntRange(1, TOP_K_LIMIT), default=5, show_default=True, help="classes a picture")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N")
@click.option("--batch", type=click.IntRange(1, 1024), default=8, show_default=True, help="pictures run together")
@click.option("--json", "as_json", is_flag=True, help="a JSON object a line, for programs")
def classify(  # noqa: PLR0913 - one for each flag
    images: tuple[str, ...], *, model: str, labels: Path | None, top_k: int, device: str, batch: int, as_json: bool
) -> None:
    """Classifies files, all pictures of folders, and `-` for standard input.

    \b
    twins classify cat.jpg
    twins classify --json photos/ > answers.jsonl
    """  # noqa: D301 - click wants the control character
    files = list(expand(images))
    if not files:
        raise click.UsageError(f"no picture in {', '.join(images)}")
    runner = open_runner(model, labels, device)
    failed = 0
    lines = run(files, runner, task.Options(top_k), batch)
    for line in track(lines, "classifying", len(files), console=Console(stderr=True), disable=not watched(files)):
        failed += line.error is not None
        write_json(line) if as_json else write_table(line)
    if failed:
        sys.exit(EXIT_SOME_FAILED)


def watched(files: list[Path]) -> bool:
    """Whether somebody would look at a progress bar."""
    return len(files) > 1 and sys.stderr.isatty() and not sys.stdout.isatty()


def expand(names: Iterable[str]) -> Iterator[Path]:
    """Files as given; of folders all pictures, at any depth, in order. Raises UsageError."""
    for path in map(Path, names):
        if path.is_dir():
            yield from sorted(
                child for child in path.rglob("*") if child.suffix.lower() in SUFFIXES and child.is_file()
            )
        elif path == STDIN or path.is_file():
            yield path
        else:
            raise click.UsageError(f"{path}: no such file or folder")


def open_runner(model: str, labels: Path | None, device: str) -> "Runner":
    """The model on the device. Raises TwinsError, UsageError."""
    from twins.loading import load  # late: `--help` should not wait for torch
    from twins.plan import Plan
    from twins.runner import Runner

    loaded = load(zoo.parse(model), labels_file=labels)
    try:
        return Runner(loaded, Plan(device))
    except (RuntimeError, AssertionError) as error:  # what torch says to a device it does not have
        raise click.UsageError(f"--device {device}: {str(error).splitlines()[0]}") from error


def run(files: list[Path], runner: "Runner", options: task.Options, batch: int) -> Iterator[Line]:
    """Every file's outcome, in order; the next batch is decoded while one runs."""
    groups = [files[i : i + batch] for i in range(0, len(files), batch)]
    with ThreadPoolExecutor() as pool:
        ahead = [pool.submit(prepare, path, runner.card) for path in groups[0]] if groups else []
        for index, group in enumerate(groups):
            prepared = [future.result() for future in ahead]
            following = groups[index + 1] if index + 1 < len(groups) else []
            ahead = [pool.submit(prepare, path, runner.card) for path in following]
            outputs = iter(
                runner.forward(samples) if (samples := [p for p in prepared if isinstance(p, Sample)]) else []
            )
            for path, item in zip(group, prepared, strict=True):
                if isinstance(item, Sample):
                    found = task.postprocess(next(outputs), runner.card, options)
                    yield Line(str(path), found.predictions)
                else:
                    yield Line(str(path), error=str(item))


def prepare(path: Path, card: Card) -> Sample | TwinsError:
    """A file's sample, or what is wrong with it."""
    try:
        data = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        picture = image.decode(data, Limits(max_bytes=2**31), exif_orientation=card.exif_orientation)
        return task.preprocess(picture, card)
    except ImageError as error:
        return error
    except OSError as error:
        return ImageError(error.strerror or str(error))


def write_json(line: Line) -> None:
    """One object."""
    click.echo(msgspec.json.encode(line))


def write_table(line: Line) -> None:
    """One picture's classes as a person reads them."""
    if line.error is not None:
        click.echo(f"{line.file}: {line.error}", err=True)
        return
    table = Table(title=line.file, title_justify="left", box=None, show_header=False)
    for prediction in line.predictions:
        bar = "█" * round(prediction.score * 20)
        table.add_row(f"{prediction.score:.3f}", prediction.label, bar)
    Console().print(table)
