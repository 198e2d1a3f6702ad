"""`twins embed`: the embeddings of images, without a server."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import track

from service.cli.files import SUFFIXES, make_folder, name_files, write_file
from service.cli.images import EXIT_SOME_FAILED, ImageResult, expand, open_model, run
from service.cli.options import run_options, task_options
from twins.card import Card
from twins.render import RENDERERS
from twins.render.renderer import NPY, RenderInput
from twins.running import BackendChoice
from twins.runtime.plan import Plan
from twins.tasks.embed import EMBED, EmbedOptions


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of one image: its embedding, or the file that holds it, or its error."""

    file: str
    dim: int | None = None
    embedding: list[float] | None = None
    output: str | None = None
    error: str | None = None


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--output", metavar="FOLDER", type=click.Path(path_type=Path), help="Write .npy files to this folder")
@task_options(EmbedOptions)
@run_options(EMBED, batch=8)
def embed(  # noqa: PLR0913 - one for each flag
    images: tuple[str, ...],
    *,
    output: Path | None,
    model: str,
    labels: Path | None,
    device: str,
    backend: BackendChoice,
    batch: int,
    **options: Any,
) -> None:
    """Embed files, all images in folders, and `-`, standard input, with any classifier.

    Each image is one JSON object on one line: with its embedding, or with the name of its .npy file.

    \b
    twins embed images/ > embeddings.jsonl
    twins embed images/ --normalize --output embeddings
    """  # noqa: D301 - click wants the control character
    files = expand(images)
    if output is not None:
        make_folder(output)
    local = click.get_current_context().with_resource(
        open_model(model, labels, Plan(device, backend=backend), batch=batch, task=EMBED)
    )
    wanted = EmbedOptions(**options)
    targets = [None] * len(files) if output is None else name_files(files, output, SUFFIXES[NPY])
    bar = Console(stderr=True)
    found = run(files, local, EMBED, wanted)
    failed = 0
    hidden = len(files) < 2 or not bar.is_terminal or sys.stdout.isatty()
    for ran, target in zip(track(found, "embedding", len(files), console=bar, disable=hidden), targets, strict=True):
        line = finish(ran, local.card, wanted, target)
        failed += line.error is not None
        click.echo(msgspec.json.encode(line))
    if failed:
        sys.exit(EXIT_SOME_FAILED)


def finish(ran: ImageResult, card: Card, options: EmbedOptions, target: Path | None) -> Line:
    """Return the line of an image. Write its embedding to the target if there is one."""
    if ran.output is None:
        return Line(str(ran.path), error=ran.error)
    found = EMBED.postprocess(ran.output, card, options)
    if target is None:
        return Line(str(ran.path), found.vector.size, found.vector.tolist())
    write_file(target, RENDERERS[EMBED.name]["npy"].render(RenderInput(found, card, options)).content)
    return Line(str(ran.path), found.vector.size, output=str(target))
