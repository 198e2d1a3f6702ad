"""The file with the figures of all scenarios: `docs/reliability/soak.json`."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.result import PACKAGES, machine, versions
from tests.soak.scenario import Report, Scenario
from tools.documents import DOCS

FILE = DOCS / "reliability" / "soak.json"
Document = Mapping[str, Any]


def entry(scenario: Scenario, report: Report, *, short: bool) -> Document:
    """Return what the file says about one scenario."""
    return {
        "date": today(),
        "length": scenario.short if short else scenario.long,
        "broken": scenario.broken(report),
        **rounded(asdict(report)),
    }


def failure(scenario: Scenario, error: Exception, *, short: bool) -> Document:
    """Return what the file says about a scenario that could not be measured to its end."""
    length = scenario.short if short else scenario.long
    return {"date": today(), "length": length, "broken": [str(error).partition("\n")[0]]}


def today() -> str:
    """Return the date."""
    return datetime.now(UTC).date().isoformat()


def rounded(value: Any) -> Any:
    """Return a value with four digits of each number. What cannot be written in JSON is None."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def document(found: Mapping[str, Document], *, short: bool, command: str) -> Document:
    """Return the contents of the file."""
    installed = {name: version for name, version in versions(PACKAGES).items() if name != "twins-serving"}
    return {"short": short, "command": command, "machine": machine(), "versions": installed, "scenarios": dict(found)}


def merged(new: Document, path: Path | None = None) -> Document:
    """Return the new entries with those of the file that the same machine measured in the same form."""
    path = path or FILE
    old = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if any(old.get(part) != new[part] for part in ("short", "machine", "versions")):
        return new
    return {**new, "scenarios": {**old["scenarios"], **new["scenarios"]}}


def missing(names: Iterable[str], new: Document) -> list[str]:
    """Return which scenarios the file lacks. It lacks all if it is of another machine or form than `new`."""
    found = merged(new)["scenarios"]
    return [name for name in names if name not in found]


def save(new: Document, path: Path | None = None) -> None:
    """Write the file."""
    path = path or FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(new, indent=1) + "\n", "utf-8")
