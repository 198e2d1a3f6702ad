"""The tables of docs/paper.md: the paper's figures beside those of this project and of other ones."""

from collections.abc import Callable, Sequence
from functools import cache
from textwrap import fill

from service.cli.table import HEADINGS, cells, notes
from tools.markdown import table
from twins.card import HeadName
from twins.zoo.comparison import Compared, compare
from twins.zoo.models import ZOO
from twins.zoo.paper import ORDER, PAPER, PaperEntry

WIDTH = 100  # of prose
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


TABLES: dict[str, Callable[[], str]] = {
    "paper-costs": costs,
    "paper-classification": scored("1"),
    "paper-fpn": scored("2, FPN"),
    "paper-upernet": scored("2, UPerNet"),
    "paper-retinanet": scored("3"),
    "paper-maskrcnn": scored("4"),
    "paper-arrangements": scored("5"),
    "paper-subsampling": scored("6"),
}
