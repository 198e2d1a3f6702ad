"""Write the figures into docs/reliability.md: `python -m tests.soak.page`.

The table and the plot are made from docs/reliability/soak.json. What the page says beside them is not generated.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.page import machine
from bench.result import cell
from tests.soak.result import FILE, Document
from tests.soak.scenario import Scenario
from tests.soak.scenarios import SCENARIOS
from tools.documents import DOCS
from tools.tables import between, table

PAGE = DOCS / "reliability.md"
PLOT = DOCS / "images" / "reliability" / "memory.svg"
COLUMNS = ("fault or load", "what is promised", "command", "sent", "refused", "lost", "slowest", "recovery", "further")


@dataclass(frozen=True)
class Elsewhere:
    """A row whose tests are not scenarios."""

    fault: str
    promise: str
    command: str


ELSEWHERE = (
    Elsewhere(
        "The hub of weights is slow, answers with errors, or sends a file that is cut off, wrong or of another"
        " revision.",
        "No wrong weights are served: the start fails and says why, or goes on when the hub does.",
        "`pytest tests/twins/zoo/test_hub.py tests/twins/zoo/test_downloads.py`",
    ),
    Elsewhere(
        "Files that lie: damaged, oversized and mislabelled images, checkpoints and requests.",
        "Each gets an error of its own. No process ends, hangs, or takes more memory than its limits allow.",
        "`python -m tests.fuzz`, `pytest tests/end_to_end/test_hostile.py`",
    ),
)


def row(scenario: Scenario, entry: Mapping[str, Any] | None) -> Sequence[str]:
    """Return the row of a scenario."""
    text = [scenario.fault, scenario.promise, f"`python -m tests.soak --only {scenario.name}`"]
    if entry is None:
        return [*text, *["–"] * 5, "not measured here"]
    numbers = [f"{entry[name]:,}" if name in entry else "–" for name in ("sent", "refused", "lost")]
    times = [seconds(entry.get(name)) for name in ("slowest_s", "recovery_s")]
    return [*text, *numbers, *times, further(entry)]


def seconds(value: float | None) -> str:
    """Return a time as the table shows it."""
    return "–" if value is None else f"{value:.2g} s"


def further(entry: Mapping[str, Any]) -> str:
    """Return the figures that only one scenario has, and the promises that were broken."""
    figures = [f"{name.replace('_', ' ')} {cell(value)}" for name, value in entry.get("figures", {}).items()]
    return "; ".join([*(f"**broken: {each}**" for each in entry["broken"]), *figures])


def rows(document: Document) -> str:
    """Return the table of all scenarios."""
    found = document["scenarios"]
    measured = [row(scenario, found.get(name)) for name, scenario in SCENARIOS.items()]
    others = [[each.fault, each.promise, each.command, *["–"] * 5, ""] for each in ELSEWHERE]
    return table(COLUMNS, [*measured, *others]) + "\n"


def circumstances(document: Document) -> str:
    """Return what the figures depend on."""
    form = "short form" if document["short"] else "long form"
    days = sorted({entry["date"] for entry in document["scenarios"].values()})
    lines = {
        "form": form,
        "command": f"`{document['command']}`",
        "date": " to ".join(dict.fromkeys((days[0], days[-1]))),
    }
    return table(["figures", "measured"], [*lines.items(), ("machine", machine(document))]) + "\n"


GENERATED = {"reliability-figures": rows, "reliability-machine": circumstances}


def page(text: str, document: Document) -> str:
    """Return the text of the page with the figures of a document."""
    for name, made in GENERATED.items():
        figures = made(document)
        text = between(name).sub(lambda _, figures=figures: figures, text)
    return text


def plot(samples: Iterable[Mapping[str, Any]], path: Path = PLOT) -> None:
    """Draw the memory of each process over time, as a file that changes only with the figures."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "memory"
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    samples = list(samples)
    for role in samples[-1]["memory_bytes"]:
        line = [sample["memory_bytes"].get(role, math.nan) / 1e6 for sample in samples]
        axis.plot([sample["after_s"] / 60 for sample in samples], line, label=role)
    axis.set(xlabel="minutes", ylabel="resident memory in MB", ylim=(0, None))
    axis.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def write() -> None:
    """Write the page and the plot."""
    document = json.loads(FILE.read_text("utf-8"))
    PAGE.write_text(page(PAGE.read_text("utf-8"), document), "utf-8")
    if samples := document["scenarios"].get("days", {}).get("samples"):
        plot(samples)


if __name__ == "__main__":
    write()
