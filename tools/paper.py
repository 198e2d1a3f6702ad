"""The tables of docs/paper.md: the paper's figures beside those of this project and of other ones."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from textwrap import fill

from examples.train import ablation
from service.cli.table import HEADINGS, cells, notes
from tools.documents import DOCS
from tools.markdown import table
from twins.card import HeadName
from twins.network.cost import pair_cost, pair_formula
from twins.zoo.comparison import Compared, compare
from twins.zoo.models import ZOO
from twins.zoo.paper import ORDER, PAPER, PaperEntry

WIDTH = 100  # of prose
ABLATION = DOCS / "ablation.jsonl"
SIDE, WINDOWS = 56, (1, 2, 4, 7, 8, 14, 28, 56)  # of the map of the first stage at 224 pixels; divisors of that side
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "1": ("top1",),
    "2, FPN": ("mIoU", "mIoU multi-scale"),
    "2, UPerNet": ("mIoU", "mIoU multi-scale"),
}
"""By table of the paper: the scores that other projects publish for their own weights."""

SUFFIXES: dict[HeadName, str] = {"linear": "", "fpn": "_fpn_ade20k", "upernet": "_upernet_ade20k"}
PROJECT = {"1": "timm", "2, FPN": "mmsegmentation", "2, UPerNet": "mmsegmentation"}


@cache
def compared() -> tuple[Compared, ...]:
    """Return all networks with their costs."""
    return tuple(compare())


def costs() -> str:
    """Return the table of all costs, and its notes."""
    lines = "\n".join(fill(f"- {line}", WIDTH, subsequent_indent="  ") for line in notes(compared()))
    return f"{table(HEADINGS, map(cells, compared()))}\n\n{lines}"


def scores(name: str) -> str:
    """Return the accuracies of one table: the paper's, and those of the project whose weights can be had."""
    found = [entry for entry in PAPER if entry.table == name]
    own = list(dict.fromkeys(score for entry in found for score in entry.scores))
    theirs = [f"{score}, {PROJECT[name]}" for score in ELSEWHERE.get(name, ())]
    head = ("network", *(f"{score}, paper" for score in own), *theirs)
    return table(head, ((f"`{entry.variant}`", *shown(entry, own), *published(entry)) for entry in found))


def shown(entry: PaperEntry, names: Sequence[str]) -> list[str]:
    """Return the paper's scores of a network; nothing where it gives none."""
    return [f"{entry.scores[name]:.1f}" if name in entry.scores else "" for name in names]


def published(entry: PaperEntry) -> list[str]:
    """Return the scores that another project publishes for its weights of a network."""
    names = ELSEWHERE.get(entry.table, ())
    known = ZOO[f"twins_{entry.variant}{SUFFIXES[entry.head]}"].published if names and entry.variant in ORDER else None
    return [f"{known.figures[name]:.2f}" if known else "" for name in names]


def scored(name: str) -> Callable[[], str]:
    """Return the function that makes the scores of one table."""
    return lambda: scores(name)


def windows() -> str:
    """Return the multiply-adds of one local and one global attention by the side of the window."""
    head = ("window", "formula, M", "attention as counted, M", "with linear layers and sub-sampling, M")
    return table(head, (window_cells(window) for window in WINDOWS))


def window_cells(window: int) -> tuple[str, ...]:
    """Return the cells of one side of the window."""
    found = pair_cost(SIDE, window)
    figures = (pair_formula(SIDE, window), found.attention, found.multiply_adds)
    return f"{window}", *(f"{figure / 1e6:.1f}" for figure in figures)


def measured(name: str) -> str:
    """Return the tables and plots of a benchmark, or a sentence if it has not run."""
    path = DOCS / "benchmarks" / f"{name}.json"
    if not path.is_file():
        return f"`python -m bench --only {name}` measures this; it has not run yet."
    rows: list[dict[str, object]] = json.loads(path.read_text("utf-8"))["rows"]
    parts = [
        rows_table([row for row in rows if row["table"] == each])
        for each in dict.fromkeys(row["table"] for row in rows)
    ]
    plots = sorted(path.name for path in (DOCS / "images" / "benchmarks").glob(f"{name}*.svg"))
    return "\n\n".join([*parts, *(f"![{plot.removesuffix('.svg')}](images/benchmarks/{plot})" for plot in plots)])


def rows_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows of one table, with a column for each of their keys."""
    columns = [key for key in rows[0] if key != "table"]
    return table(columns, ([cell(row.get(key)) for key in columns] for row in rows))


def cell(value: object) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return "" if value is None else str(value)


def ablation_results() -> str:
    """Return the table of our own ablation, or a sentence if it has not run."""
    found = ablation.read(ABLATION)
    if not found:
        return "This has not been run yet."
    last = found[-1]
    size = f"{last.images} training images, {last.side} pixels, {last.epochs} epochs"
    text = f"{size}, {last.seconds / 60:.0f} minutes a run:"
    return f"{text}\n\n{table(ablation.HEADINGS, ablation.report(ablation.summarise(found)))}"


TABLES: dict[str, Callable[[], str]] = {
    "paper-costs": costs,
    "paper-classification": scored("1"),
    "paper-fpn": scored("2, FPN"),
    "paper-upernet": scored("2, UPerNet"),
    "paper-retinanet": scored("3"),
    "paper-maskrcnn": scored("4"),
    "paper-arrangements": scored("5"),
    "paper-subsampling": scored("6"),
    "paper-windows": windows,
    "paper-baselines": partial(measured, "baselines"),
    "paper-complexity": partial(measured, "complexity"),
    "paper-ablation": ablation_results,
}
