"""The JSON form of every benchmark's result: `docs/benchmarks/NAME.json`, or `.venv/bench/quick/NAME.json`.

A benchmark makes one `Result`, prints it with `show` and writes it with `save`. The machine and the versions are added
here, so that all files have the same form.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tools.documents import ROOT

FOLDER = ROOT / "docs" / "benchmarks"
QUICK = ROOT / ".venv" / "bench" / "quick"
"""Where short runs write, whose figures are not for the page."""
PLOTS = ROOT / "docs" / "images" / "benchmarks"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8")
PACKAGES = (
    *("torch", "openvino", "onnxruntime", "numpy", "opencv-python-headless", "pyzmq", "grpcio", "fastapi", "uvicorn"),
    *("uvloop", "httptools"),
)
"""What the figures of every benchmark depend on. Each file has the versions of those that are installed."""

Row = Mapping[str, str | int | float | bool | None]


def command() -> str:
    """Return the command that started this process. Of files only the names matter to others."""
    spec = sys.modules["__main__"].__spec__
    module = spec.name.removesuffix(".__main__") if spec else sys.argv[0]
    arguments = (Path(argument).name if Path(argument).exists() else argument for argument in sys.argv[1:])
    return shlex.join(["python", "-m", module, *arguments])


@dataclass(frozen=True)
class Target:
    """A figure that was asked for, beside the one that was measured."""

    text: str  # a sentence that says what is measured
    target: str  # with its unit, such as "at least 0.97 ×"
    measured: str  # with its unit
    met: bool | None  # None if this machine cannot measure it


@dataclass(frozen=True)
class Result:
    """What one benchmark found."""

    name: str  # of the file, without a suffix
    rows: Sequence[Row]  # flat; the rows of one `table` have the same keys
    targets: Sequence[Target] = ()
    versions: Mapping[str, str] = field(default_factory=dict)  # that matter beside PACKAGES, such as those of rivals
    command: str = field(default_factory=command)  # that repeats it

    def document(self) -> dict[str, Any]:
        """Return the contents of the file."""
        return {
            "name": self.name,
            "machine": machine(),
            "versions": versions(PACKAGES) | self.versions,
            "command": self.command,
            "rows": [dict(row) for row in self.rows],
            "targets": [asdict(target) for target in self.targets],
        }

    def save(self, folder: Path = FOLDER, *, quick: bool = False) -> Path:
        """Write the file and return its path. That of a short run is not written to the folder."""
        folder = QUICK if quick else folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(self.document(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        return path

    def show(self) -> None:
        """Print the rows and the targets."""
        show_table(self.name, self.rows)
        show_table("targets", [asdict(target) for target in self.targets])


quick_option = click.option("--quick", is_flag=True, help="Measure shortly, and write to .venv/bench/quick.")
"""The option of every benchmark."""


def show_table(title: str, rows: Sequence[Row]) -> None:
    """Print rows as a table whose columns are the keys of all rows, in their order."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(cell(row.get(key)) for key in columns))
    if rows:
        Console(width=max(Console().width, 160)).print(table)


def cell(value: object) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return "–" if value is None else str(value)


def machine() -> dict[str, Any]:
    """Return a description of the machine: what a figure must be compared with."""
    cpu = dict(cpu_fields())
    flags = cpu.get("flags", "").split()
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": gpus(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def cpu_fields() -> Iterable[tuple[str, str]]:
    """Yield the fields of the first processor in /proc/cpuinfo."""
    first, _, _ = Path("/proc/cpuinfo").read_text("utf-8").partition("\n\n")
    for line in first.splitlines():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()


def gpus() -> list[str]:
    """Return the names of the GPUs; none without NVIDIA's driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    except pynvml.NVMLError:
        return []


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages that are installed, and the revision of this repository."""
    installed = {}
    for package in packages:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"twins-serving": revision(), **installed}


def revision() -> str:
    """Return the revision of this repository, with a plus sign if files differ from it."""
    git = ("git", "-C", str(ROOT), "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*")
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
