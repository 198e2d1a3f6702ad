"""`twins segment` writes the masks of images to a folder, without a server."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.files import SUFFIXES, make_folder, name_files, write_file
from service.cli.images import EXIT_SOME_FAILED, ImageResult, expand, open_model, run, with_progress
from service.cli.options import json_option, run_options, task_options
from twins.card import Card
from twins.render import RENDERERS, palette
from twins.render.document import RegionBody, body
from twins.render.renderer import Renderer, RenderInput
from twins.running import BackendChoice
from twins.runtime.plan import Plan
from twins.tasks.segment import SEGMENT, SegmentOptions
from twins.tasks.segmentation import regions

FORMATS = RENDERERS[SEGMENT.name]
LEGEND = 12  # classes of an image in the output for a person; `--json` has all of them


@dataclass(frozen=True)
class Line:
    """The result of one image."""

    file: str
    output: str | None = None
    size: tuple[int, int] | None = None  # (height, width)
    classes: tuple[RegionBody, ...] = ()
    error: str | None = None


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--output", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="Write the masks to this folder"
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    default="png",
    show_default=True,
    help="Write the masks in this format",
)
@task_options(SegmentOptions)
@run_options(SEGMENT, batch=4)
@json_option
def segment(  # noqa: PLR0913 - one for each flag
    images: tuple[str, ...],
    *,
    output: Path,
    format_name: str,
    model: str,
    labels: Path | None,
    device: str,
    backend: BackendChoice,
    batch: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Find a class for every pixel of files, of all images in folders, and of `-`, standard input.

    A mask is named after its image. In the formats png, palette and npy the value of a pixel is the id of its class,
    or 255 (65535 from 256 classes on) if it has none.

    \b
    twins segment cat.jpg --output masks --format overlay
    twins segment street.jpg --output masks --model twins_svt_small_fpn_ade20k
    twins segment images/ --output masks --model city=./city.pth --labels city.txt --json > found.jsonl
    """  # noqa: D301 - click wants the control character
    files = expand(images)
    make_folder(output)
    local = click.get_current_context().with_resource(
        open_model(model, labels, Plan(device, backend=backend), batch=batch, task=SEGMENT)
    )
    wanted, renderer = SegmentOptions(**options), FORMATS[format_name]
    SEGMENT.check(wanted, local.card)
    renderer.check(local.card)
    screen = Console()
    found = run(files, local, SEGMENT, wanted, keep_image=renderer.needs_image)
    shown = with_progress(found, "segmenting", len(files), screen)
    failed = 0
    targets = name_files(files, output, SUFFIXES[renderer.media_types[0]])
    for ran, target in zip(shown, targets, strict=True):
        line = finish(ran, local.card, wanted, renderer, target)
        failed += line.error is not None
        click.echo(msgspec.json.encode(line)) if as_json else write_legend(line, screen)
    if failed:
        sys.exit(EXIT_SOME_FAILED)


def finish(ran: ImageResult, card: Card, options: SegmentOptions, renderer: Renderer, target: Path) -> Line:
    """Write the mask of an image. Return its classes, or its error."""
    if ran.output is None:
        return Line(str(ran.path), error=ran.error)
    found = SEGMENT.postprocess(ran.output, card, options)
    write_file(target, renderer.render(RenderInput(found, card, options, ran.image)).content)
    present = regions(found, palette.colours(found.labels))
    return Line(str(ran.path), str(target), found.size, tuple(map(body, present)))


def write_legend(line: Line, screen: Console) -> None:
    """Print the classes of one image for a person, with the colours of its mask."""
    if line.error is not None:
        click.echo(f"{line.file}: {line.error}", err=True)
        return
    screen.print(f"{line.file} → {line.output}", soft_wrap=True, highlight=False, markup=False)
    table = Table(box=None, show_header=False)
    for each in line.classes[:LEGEND]:
        confidence = f"{each.confidence:.2f}" if each.confidence is not None else ""
        table.add_row(Text("██", each.colour), each.label, f"{each.share:6.1%}", confidence)
    if more := line.classes[LEGEND:]:
        table.add_row("", f"and {len(more)} more", f"{sum(each.share for each in more):6.1%}")
    screen.print(table)
