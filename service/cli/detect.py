"""`twins detect` finds the objects in images, without a server."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from service.cli.files import SUFFIXES, make_folder, name_files, write_file
from service.cli.images import EXIT_SOME_FAILED, ImageResult, expand, open_model, run, with_progress
from service.cli.options import json_option, run_options, task_options
from twins.card import Card
from twins.render import RENDERERS
from twins.render.instances import DetectAnswer, describe
from twins.render.renderer import Renderer, RenderInput
from twins.running import BackendChoice
from twins.runtime.plan import Plan
from twins.tasks.detect import DETECT, DetectOptions
from twins.tasks.detection import DetectionResult

FORMATS = RENDERERS[DETECT.name]
LISTED = 12  # objects of an image in the output for a person; `--json` has all of them


@dataclass(frozen=True)
class Line:
    """The result of one image."""

    file: str
    output: str | None = None
    answer: DetectAnswer | None = None
    error: str | None = None


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--output", metavar="FOLDER", type=click.Path(path_type=Path), help="Write a file per image to this folder"
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    default="overlay",
    show_default=True,
    help="Write the files in this format",
)
@task_options(DetectOptions)
@run_options(DETECT, batch=2)
@json_option
def detect(  # noqa: PLR0913 - one for each flag
    images: tuple[str, ...],
    *,
    output: Path | None,
    format_name: str,
    model: str,
    labels: Path | None,
    device: str,
    backend: BackendChoice,
    batch: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the objects in files, in all images in folders, and in `-`, standard input.

    \b
    twins detect street.jpg --model twins_svt_small_maskrcnn_coco=./mask_rcnn.pth --output found
    twins detect images/ --model mine=./retinanet.pth --labels mine.txt --threshold 0.5 --json > found.jsonl
    """  # noqa: D301 - click wants the control character
    files = expand(images)
    if output is not None:
        make_folder(output)
    local = click.get_current_context().with_resource(
        open_model(model, labels, Plan(device, backend=backend), batch=batch, task=DETECT)
    )
    wanted, renderer = DetectOptions(**options), FORMATS[format_name]
    DETECT.check(wanted, local.card)
    suffix = SUFFIXES[renderer.media_types[0]]
    targets = [None] * len(files) if output is None else name_files(files, output, suffix)
    keep_image = output is not None and renderer.needs_image
    found = run(files, local, DETECT, wanted, keep_image=keep_image)
    screen = Console()
    shown = with_progress(found, "detecting", len(files), screen)
    masks = wanted.masks if as_json else "none"  # a table has none
    failed = 0
    for ran, target in zip(shown, targets, strict=True):
        line = finish(ran, local.card, wanted, renderer, target, masks=masks)
        failed += line.error is not None
        click.echo(msgspec.json.encode(line)) if as_json else write_table(line, screen)
    if failed:
        sys.exit(EXIT_SOME_FAILED)


def finish(  # noqa: PLR0913 - what all images share, and one of them
    ran: ImageResult, card: Card, options: DetectOptions, renderer: Renderer, target: Path | None, *, masks: str
) -> Line:
    """Write the file of an image if there is a target. Return its objects with masks in that form, or its error."""
    if ran.output is None:
        return Line(str(ran.path), error=ran.error)
    found: DetectionResult = DETECT.postprocess(ran.output, card, options)
    if target is not None:
        write_file(target, renderer.render(RenderInput(found, card, options, ran.image)).content)
    return Line(str(ran.path), str(target) if target else None, describe(found, card.name, masks))


def write_table(line: Line, screen: Console) -> None:
    """Print the objects of one image for a person."""
    if line.answer is None:
        click.echo(f"{line.file}: {line.error}", err=True)
        return
    target = f" → {line.output}" if line.output else ""
    screen.print(f"{line.file}{target}", soft_wrap=True, highlight=False, markup=False)
    table = Table(box=None, show_header=False)
    found = line.answer.detections
    for each in found[:LISTED]:
        left, top, right, bottom = map(round, each.box)
        table.add_row(f"{each.score:.2f}", each.label, f"({left}, {top}) to ({right}, {bottom})")
    if more := found[LISTED:]:
        table.add_row("", f"and {len(more)} more")
    screen.print(table)
