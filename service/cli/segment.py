"""`twins segment`: images to masks in a folder, here, without a server."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from service.cli.images import EXIT_SOME_FAILED, STDIN, ImageResult, expand, open_runner, run
from twins.card import Card
from twins.render.document import Masks, RegionBody, body
from twins.render.formats import RenderedMask, RenderOptions
from twins.tasks.segment import SEGMENT, SegmentOptions
from twins.zoo.models import DEFAULT_MODELS

SUFFIX = {"png": ".png", "palette": ".png", "overlay": ".png", "json": ".json", "hf": ".json", "npy": ".npy"}
LEGEND = 12  # classes of an image that are shown to a person; programs get them all


@dataclass(frozen=True)
class Line:
    """One image's outcome."""

    file: str
    output: str | None = None
    size: tuple[int, int] | None = None  # (height, width)
    classes: tuple[RegionBody, ...] = ()
    error: str | None = None


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--output", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="where the masks go")
@click.option("--format", "form", type=click.Choice(list(SUFFIX)), default="png", show_default=True, help="of a mask")
@click.option("--model", default=DEFAULT_MODELS["segment"], show_default=True, help="NAME, or NAME=FILE")
@click.option("--labels", type=click.Path(path_type=Path), help="class names of a checkpoint of your own, one a line")
@click.option(
    "--size", type=click.Choice(["original", "model"]), default="original", show_default=True, help="of masks"
)
@click.option("--classes", default="", help="the only classes to keep, by name or id, separated by commas")
@click.option(
    "--threshold", type=click.FloatRange(0, 1), default=0.0, help="of confidences, below which pixels have none"
)
@click.option("--confidence", is_flag=True, help="tell how sure the pixels of each class are")
@click.option("--masks", type=click.Choice(get_args(Masks)), default="rle", show_default=True, help="in JSON files")
@click.option(
    "--opacity", type=click.FloatRange(0, 1), default=RenderOptions.opacity, show_default=True, help="of an overlay"
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N")
@click.option("--batch", type=click.IntRange(1, 1024), default=4, show_default=True, help="images run together")
@click.option("--json", "as_json", is_flag=True, help="print a JSON object a line, for programs")
def segment(  # noqa: PLR0913 - one for each flag
    images: tuple[str, ...],
    *,
    output: Path,
    form: Any,
    model: str,
    labels: Path | None,
    device: str,
    batch: int,
    as_json: bool,
    masks: Any,
    opacity: float,
    classes: str,
    **options: Any,
) -> None:
    """Finds a class for every pixel of files, of all images in folders, and of `-`, standard input.

    A mask is named after its image. In the formats png, palette and npy a pixel's value is its class's id, and 255
    (65535 from 256 classes on) where there is none.

    \b
    twins segment cat.jpg --output masks --format overlay
    twins segment street.jpg --output masks --model twins_svt_small_fpn_ade20k
    twins segment photos/ --output masks --model city=./city.pth --labels city.txt --json > found.jsonl
    """  # noqa: D301 - click wants the control character
    files = expand(images)
    make_folder(output)
    runner = open_runner(model, labels, device, "segment")
    wanted = SegmentOptions(classes=tuple(name.strip() for name in classes.split(",") if name.strip()), **options)
    options_ = RenderOptions(form, masks=masks, opacity=opacity, listed=True)
    SEGMENT.check(wanted, runner.card)
    options_.check(runner.card)
    screen = Console()
    found = watched(run(files, runner, wanted, batch, keep=options_.needs_image), len(files), screen)
    failed = 0
    for ran, target in zip(found, name_files(files, output, SUFFIX[form]), strict=True):
        line = finish(ran, runner.card, wanted, options_, target)
        failed += line.error is not None
        click.echo(msgspec.json.encode(line)) if as_json else write_legend(line, screen)
    if failed:
        sys.exit(EXIT_SOME_FAILED)


def watched(found: Iterator[ImageResult], total: int, screen: Console) -> Iterable[ImageResult]:
    """The same, under a progress bar where a person would see one."""
    bar = screen if screen.is_terminal else Console(stderr=True)
    return track(found, "segmenting", total, console=bar, disable=total < 2 or not bar.is_terminal)


def make_folder(path: Path) -> None:
    """Makes the folder for the masks. Raises UsageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--output {path}: {error.strerror or error}") from error


def name_files(files: Sequence[Path], folder: Path, suffix: str) -> list[Path]:
    """A file for each image's mask: its name, numbered where another has it; never one of the images."""
    taken = {path.resolve() for path in files if path != STDIN}
    names: list[Path] = []
    for path in files:
        stem = "stdin" if path == STDIN else path.stem
        numbered = (f"{stem}-{number}" for number in count(2))
        free = (folder / f"{name}{suffix}" for name in chain([stem], numbered))
        target = next(each for each in free if lowered(each) not in taken and each.resolve() not in taken)
        taken |= {lowered(target)}
        names.append(target)
    return names


def lowered(path: Path) -> Path:
    """A name as file systems compare it that know no capitals."""
    return path.resolve().with_name(path.name.lower())


def finish(ran: ImageResult, card: Card, options: SegmentOptions, options_: RenderOptions, target: Path) -> Line:
    """Writes a file's mask; what is in it, or its error."""
    if ran.output is None:
        return Line(str(ran.path), error=ran.error)
    rendered = options_.render(SEGMENT.postprocess(ran.output, card, options), card, ran.image)
    try:
        target.write_bytes(rendered.content)
    except OSError as error:
        raise click.UsageError(f"{target}: {error.strerror or error}") from error
    return Line(str(ran.path), str(target), rendered.size, tuple(bodies(rendered)))


def bodies(rendered: RenderedMask) -> Iterator[RegionBody]:
    """The classes as JSON has them."""
    return map(body, rendered.regions)


def write_legend(line: Line, screen: Console) -> None:
    """One image's classes as a person reads them, with the colours of its mask."""
    if line.error is not None:
        click.echo(f"{line.file}: {line.error}", err=True)
        return
    screen.print(f"{line.file} → {line.output}", soft_wrap=True, highlight=False, markup=False)
    table = Table(box=None, show_header=False)
    for each in line.classes[:LEGEND]:
        sure = f"{each.confidence:.2f}" if each.confidence is not None else ""
        table.add_row(Text("██", each.colour), each.label, f"{each.share:6.1%}", sure)
    if more := line.classes[LEGEND:]:
        table.add_row("", f"and {len(more)} more", f"{sum(each.share for each in more):6.1%}")
    screen.print(table)
