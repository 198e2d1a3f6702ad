"""Write the figures into docs/benchmarks.md: `python -m bench.page`.

The page has one table of all targets, and a section for each file in `docs/benchmarks`. What it says beside the figures
is not generated.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.result import FOLDER, PLOTS, Row, cell
from tools.documents import DOCS
from tools.markdown import between, table

PAGE = DOCS / "benchmarks.md"
Document = Mapping[str, Any]

TITLES = {
    "forward": "Forward passes",
    "rivals": "Other servers",
    "request": "CPU time of a request",
    "gateway": "Frontends in front of a worker that answers at once",
    "large-images": "Large JPEG images",
    "int8": "Eight bits",
    "detection": "Detectors in batches",
    "baselines": "The paper's baselines",
    "complexity": "Time and memory by image area",
    "start": "Start and memory",
    "scale-threads": "Threads",
    "scale-clients": "Clients",
    "scale-sizes": "Image sizes",
    "scale-overlays": "Overlays",
    "scale-batches": "Batch limit",
    "scale-frontends": "Frontends",
    "scale-models": "Models served",
    "scale-overload": "Overload",
}
"""The sections in their order; files that are not named follow."""

MET = {True: "met", False: "missed", None: "not measured"}


def results(folder: Path = FOLDER) -> list[Document]:
    """Return all results, in the order of the sections."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}
    return [found[name] for name in (*TITLES, *sorted(found.keys() - TITLES.keys())) if name in found]


def missing(documents: Sequence[Document]) -> str:
    """Return a sentence that names the benchmarks without a result; nothing if all have one."""
    names = [f"`{name}`" for name in TITLES.keys() - {document["name"] for document in documents}]
    return f"Without a result: {', '.join(sorted(names))}.\n" if names else ""


def target_rows(documents: Iterable[Document]) -> list[Row]:
    """Return a row for each target."""
    return [
        {
            "benchmark": document["name"],
            "what": target["text"],
            "target": target["target"],
            "measured": target["measured"],
            "outcome": MET[target["met"]],
        }
        for document in documents
        for target in document["targets"]
    ]


def targets(documents: Sequence[Document]) -> str:
    """Return the table of all targets."""
    return "\n".join(filter(None, (markdown(target_rows(documents)), missing(documents))))


def machines(documents: Sequence[Document]) -> str:
    """Return what the figures depend on: a line for each set of benchmarks of one machine and one revision."""
    groups: dict[str, list[str]] = {}
    for document in documents:
        groups.setdefault(machine(document), []).append(f"`{document['name']}`")
    return markdown([{"machine and versions": text, "benchmarks": ", ".join(names)} for text, names in groups.items()])


def machine(document: Document) -> str:
    """Return a description of the machine and the versions of a result."""
    found = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    flags = " ".join(found["flags"])
    gpu = ", ".join(found["gpu"]) or "no GPU"
    return (
        f"{found['cpu']}, {found['cores']} cores ({flags}), {found['memory_gb']} GB, {gpu}, "
        f"Linux {found['kernel']}, Python {found['python']}; {versions}"
    )


def sections(documents: Sequence[Document]) -> str:
    """Return a section for each result: its command, its tables and its plot."""
    return "\n".join(part for document in documents for part in section(document))


def section(document: Document) -> Iterator[str]:
    """Yield the lines of a section."""
    name = document["name"]
    yield f"### {TITLES.get(name, name)}\n"
    yield f"`{document['command']}`, [all figures](benchmarks/{name}.json)\n"
    for rows in grouped(document["rows"]).values():
        yield markdown(rows)
    if (PLOTS / f"{name}.svg").is_file():
        yield f"![{TITLES.get(name, name)}](images/benchmarks/{name}.svg)\n"


def grouped(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows by their table, without the name of the table."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        shown = {key: value for key, value in row.items() if key != "table"}
        found.setdefault(str(row.get("table")), []).append(shown)
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table whose columns are the keys that have a value in any row."""
    columns = [
        key
        for key in dict.fromkeys(key for row in rows for key in row)
        if any(row.get(key) is not None for row in rows)
    ]
    if not columns:
        return ""
    return (
        table(columns, ([cell(row.get(key)).replace("|", "/").replace("\n", " ") for key in columns] for row in rows))
        + "\n"
    )


GENERATED = {"benchmark-targets": targets, "benchmark-machines": machines, "benchmark-sections": sections}


def page(text: str, documents: Sequence[Document]) -> str:
    """Return the text of the page with the figures of the results."""
    for name, made in GENERATED.items():
        figures = made(documents).replace("\\", r"\\")
        text = between(name).sub(lambda _, figures=figures: figures, text)
    return text


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text("utf-8"), results()), "utf-8")


if __name__ == "__main__":
    write()
