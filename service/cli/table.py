"""`twins table`: the networks of the paper, counted here, beside the paper's figures."""

from collections.abc import Callable, Sequence

import click
import msgspec
from rich.console import Console
from rich.table import Table

from twins.zoo.comparison import Compared, compare
from twins.zoo.paper import COUNTINGS

HEADINGS = (
    *("table", "network", "head", "image", "parameters, M", "FLOPs, G", "activations, M"),
    *("parameters as counted there", "paper", "FLOPs as counted there", "paper"),
)
LITTLE = 20  # FLOPs below which the paper gives a decimal


@click.command()
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["table", "markdown", "json"]),
    default="table",
    show_default=True,
    help="Print the table in this form.",
)
def table(*, format_name: str) -> None:
    """Print parameters, FLOPs and activations of every network of the paper beside its figures.

    FLOPs are multiply-adds for one image, as in the paper. No weights are needed.
    """
    click.echo(FORMATS[format_name](list(compare())).rstrip())


def as_table(found: Sequence[Compared]) -> str:
    """Return the table for a terminal."""
    shown = Table(*HEADINGS, box=None)
    for each in found:
        shown.add_row(*cells(each))
    console = Console(width=max(160, Console().width))
    with console.capture() as capture:
        console.print(shown)
        for line in notes(found):
            console.print(line, highlight=False, markup=False)
    return capture.get()


def as_markdown(found: Sequence[Compared]) -> str:
    """Return the table in Markdown."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *map(cells, found)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return text + "\n\n" + "\n".join(f"- {line}" for line in notes(found))


def as_json(found: Sequence[Compared]) -> str:
    """Return the exact figures, and how each table counts."""
    rules = {name: each.note for name, each in COUNTINGS.items()}
    return msgspec.json.encode({"networks": found, "notes": rules}).decode()


FORMATS: dict[str, Callable[[Sequence[Compared]], str]] = {
    "table": as_table,
    "markdown": as_markdown,
    "json": as_json,
}


def cells(each: Compared) -> tuple[str, ...]:
    """Return the cells of one network."""
    height, width = each.size
    return (
        each.table,
        each.variant,
        each.head,
        f"{height} × {width}",
        f"{each.parameters:.1f}",
        billions(each.flops, each.flops),
        f"{each.activations:.1f}",
        f"{each.counted_parameters:.1f}",
        "" if each.paper_parameters is None else f"{each.paper_parameters:.1f}",
        billions(each.counted_flops, each.flops),
        "" if each.paper_flops is None else billions(each.paper_flops, each.flops),
    )


def billions(value: float, size: float) -> str:
    """Return FLOPs with as many decimals as the paper gives for networks of that size."""
    return f"{value:.1f}" if size < LITTLE else f"{value:.0f}"


def notes(found: Sequence[Compared]) -> list[str]:
    """Return how each table counts, and why a figure differs."""
    tables = dict.fromkeys(each.table for each in found)
    of_networks = [f"{each.variant}: {each.note}" for each in found if each.note]
    return [*(f"Table {name}: {COUNTINGS[name].note}" for name in tables), *of_networks]
