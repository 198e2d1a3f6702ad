"""`twins models`, `twins pull` and `twins convert`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from twins.errors import BadOption, CheckpointError, LabelsError
from twins.preprocessing import choose, describe, parse_values
from twins.runtime.choice import choose_device, open_backend
from twins.runtime.plan import Plan
from twins.zoo import hub
from twins.zoo import labels as class_names
from twins.zoo.models import DEFAULT_MODELS, ZOO, ZooEntry, parse_reference

HEADINGS = ("NAME", "TASK", "LABELS", "ACCURACY, %")


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON with all facts about each model, such as its weights."
)
def models(*, as_json: bool) -> None:
    """List the models that are known by name."""
    if as_json:
        click.echo(msgspec.json.encode({name: msgspec.to_builtins(entry) for name, entry in ZOO.items()}))
        return
    lines = [HEADINGS, *((name, entry.task, entry.labels, accuracy(entry)) for name, entry in ZOO.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def accuracy(entry: ZooEntry) -> str:
    """Return the figures of a model that fit a line: those at a single scale."""
    return figures(entry, but="multi-scale")


def figures(entry: ZooEntry, *, but: str | None = None) -> str:
    """Return a model's accuracy, published or measured, without the figures whose name contains `but`."""
    found = entry.published or entry.measured
    named = found.figures.items() if found else ()
    return ", ".join(f"{name} {value:.1f}" for name, value in named if but is None or but not in name)


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--export", is_flag=True, help="Also export the networks for this machine, so that a start is quick")
def pull(names: tuple[str, ...], *, export: bool) -> None:
    """Fetch the weights of models into the cache and print their paths. Without a NAME, take the models that ship."""
    references = [parse_reference(name) for name in names or DEFAULT_MODELS.values()]
    for reference in references:
        click.echo(hub.fetch(reference))
    if export:
        backend = open_backend(Plan(choose_device("auto")))
        for reference in references:
            backend.load(reference)  # a backend stores what it exports


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--labels", type=click.Path(path_type=Path), help="Store the class names in this file, one per line.")
@click.option(
    "--size", type=int, help="Store the side of a classifier's crop, or the short side for segmentation, in pixels."
)
@click.option(
    "--crop", type=float, help="Store the share of the short side that a classifier's crop keeps, from 0 to 1."
)
@click.option("--interpolation", help="Store the interpolation: bicubic or bilinear; only bilinear for segmentation.")
@click.option("--mean", metavar="R/G/B", help="Store the mean of each channel, from 0 to 1, such as 0.5/0.5/0.5.")
@click.option("--std", metavar="R/G/B", help="Store the standard deviation of each channel, on the same scale.")
@click.option("--half", is_flag=True, help="Store the weights in half precision, which halves the size.")
@click.option("--force", is_flag=True, help="Overwrite OUT.")
def convert(
    source: Path, target: Path, *, labels: Path | None, half: bool, force: bool, **values: str | float | None
) -> None:
    """Rewrite a checkpoint of any supported format as safetensors, with timm's key names.

    Files that hold more than weights and whole pickled models can be read, too. Only tensors are taken, and no code
    from the file runs. The values of --labels, --size, --crop, --interpolation, --mean and --std are stored in the
    file, so that it is served with them.
    """
    if target.suffix != ".safetensors":
        raise click.UsageError(f"OUT is {target}; its name must end in .safetensors")
    if target.exists() and not force:
        raise click.UsageError(f"{target} exists; --force overwrites it")
    given = parse_values({name: str(value) for name, value in values.items() if value is not None})
    from twins.checkpoints import checkpoint  # imported late because it imports torch

    found = checkpoint.load(source, tolerant=True)
    try:
        checkpoint.build(found)  # only a file that can be served is written
        declared = replace(found.declared, **read_labels(found.classes, labels))
        chosen = choose(found.task, {"flag": given, **declared.layers})
    except (CheckpointError, LabelsError, BadOption) as error:
        raise type(error)(f"{source}: {error}") from error
    declared = replace(declared, preprocessing=given.with_defaults(declared.preprocessing))
    checkpoint.save(replace(found, declared=declared), target, half=half)
    click.echo(f"{target}: {found.variant_name}, {found.classes} classes, from {found.format}")
    click.echo(f"preprocessing: {describe(chosen)}")


def read_labels(classes: int, path: Path | None) -> dict[str, Any]:
    """Return the class names and colours in a file, as a checkpoint declares them. Raises LabelsError."""
    if path is None:
        return {}
    found = class_names.choose(classes, class_names.read(path))
    colours = tuple(label.colour for label in found if label.colour)
    return {"labels": tuple(label.name for label in found), "palette": colours if len(colours) == classes else None}
