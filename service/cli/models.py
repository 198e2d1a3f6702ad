"""`twins models`, `twins pull` and `twins convert`."""

from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Column, Table

from twins import hub, zoo
from twins.errors import CheckpointError
from twins.zoo import Row


@click.command()
@click.option("--json", "as_json", is_flag=True, help="for programs")
def models(*, as_json: bool) -> None:
    """Lists the models known by name."""
    if as_json:
        click.echo(msgspec.json.encode({name: msgspec.to_builtins(row) for name, row in zoo.ZOO.items()}))
        return
    weights = Column("weights", overflow="fold")  # cut off, it would be of no use
    table = Table("name", "task", "labels", "top-1 %", "top-5 %", weights, box=None, header_style="bold")
    for name, row in zoo.ZOO.items():
        table.add_row(name, row.task, row.labels, *figures(row), str(row.source))
    Console().print(table)


def figures(row: Row) -> tuple[str, str]:
    """A model's accuracy, published or measured."""
    accuracy = row.published or row.measured
    if accuracy is None:
        return "", ""
    return f"{accuracy.top1:.1f}", "" if accuracy.top5 is None else f"{accuracy.top5:.1f}"


@click.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetches a model's weights into the cache and prints where they are."""
    click.echo(hub.fetch(zoo.parse(name)))


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--labels", "labels_file", type=click.Path(path_type=Path), help="class names to put into the file")
@click.option("--half", is_flag=True, help="half precision: half the size")
@click.option("--force", is_flag=True, help="overwrite OUT")
def convert(source: Path, target: Path, *, labels_file: Path | None, half: bool, force: bool) -> None:
    """Rewrites any supported checkpoint as safetensors, under timm's names.

    Reads training checkpoints that hold more than weights, too: what is not a tensor is left out, and no code from the
    file runs.
    """
    if target.suffix != ".safetensors":
        raise click.UsageError(f"OUT is {target}; its name must end in .safetensors")
    if target.exists() and not force:
        raise click.UsageError(f"{target} exists; --force overwrites it")
    from twins import checkpoint, labels  # late: it costs torch

    found = checkpoint.load(source, tolerant=True)
    checkpoint.build(found)  # strict: a file that is written is one that can be served
    names = tuple(label.name for label in labels.read(labels_file)) if labels_file else found.labels
    if names and len(names) != found.classes:
        raise CheckpointError(f"{labels_file}: {len(names)} labels for {found.classes} classes")
    checkpoint.save(checkpoint.with_labels(found, names), target, half=half)
    click.echo(f"{target}: {found.variant_name}, {found.classes} classes, from {found.format}")
