"""`twins models`, `twins pull` and `twins convert`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Column, Table

from twins.card import MIN_SIDE
from twins.checkpoints.metadata import MAX_SIZE
from twins.zoo import hub
from twins.zoo import labels as class_names
from twins.zoo.models import ZOO, ZooEntry, parse_reference


@click.command()
@click.option("--json", "as_json", is_flag=True, help="for programs")
def models(*, as_json: bool) -> None:
    """Lists the models known by name."""
    if as_json:
        click.echo(msgspec.json.encode({name: msgspec.to_builtins(row) for name, row in ZOO.items()}))
        return
    weights = Column("weights", overflow="fold")  # cut off, it would be of no use
    names = Column("name", no_wrap=True, min_width=max(map(len, ZOO)))
    table = Table(names, "task", "labels", "accuracy, %", weights, box=None, header_style="bold")
    for name, row in ZOO.items():
        table.add_row(name, row.task, row.labels, figures(row), str(row.source))
    Console().print(table)


def figures(row: ZooEntry) -> str:
    """A model's accuracy, published or measured."""
    accuracy = row.published or row.measured
    return ", ".join(f"{name} {value:.1f}" for name, value in accuracy.figures.items()) if accuracy else ""


@click.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetches a model's weights into the cache and prints where they are."""
    click.echo(hub.fetch(parse_reference(name)))


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--labels", type=click.Path(path_type=Path), help="class names to put into the file, one a line")
@click.option("--size", type=click.IntRange(MIN_SIDE, MAX_SIZE), help="side of a classifier's crop, in pixels")
@click.option("--crop", type=click.FloatRange(0, 1, min_open=True), help="share of the short side in that crop")
@click.option("--half", is_flag=True, help="half precision: half the size")
@click.option("--force", is_flag=True, help="overwrite OUT")
def convert(source: Path, target: Path, *, half: bool, force: bool, **given: Any) -> None:
    """Rewrites any supported checkpoint as safetensors, under timm's names.

    Reads training checkpoints that hold more than weights, too: what is not a tensor is left out, and no code from the
    file runs. What --labels, --size and --crop say is kept in the file, so that it is served like that by itself.
    """
    if target.suffix != ".safetensors":
        raise click.UsageError(f"OUT is {target}; its name must end in .safetensors")
    if target.exists() and not force:
        raise click.UsageError(f"{target} exists; --force overwrites it")
    from twins.checkpoints import checkpoint  # late: it costs torch

    found = checkpoint.load(source, tolerant=True)
    checkpoint.build(found)  # strict: a file that is written is one that can be served
    declared = replace(found.declared, **declare(found.classes, **given))
    checkpoint.save(replace(found, declared=declared), target, half=half)
    click.echo(f"{target}: {found.variant_name}, {found.classes} classes, from {found.format}")


def declare(classes: int, *, labels: Path | None, size: int | None, crop: float | None) -> dict[str, Any]:
    """What the user says of a checkpoint. Raises LabelsError."""
    said: dict[str, Any] = {"size": size, "crop": crop}
    if labels is not None:
        found = class_names.choose(classes, class_names.read(labels))
        colours = tuple(label.colour for label in found)
        said |= {"labels": tuple(label.name for label in found), "palette": colours if all(colours) else None}
    return {name: value for name, value in said.items() if value is not None}
