"""Run the benchmarks and write their page: `python -m bench`, or `make bench`.

A benchmark that fails is reported as failed, and the others go on. `--only` repeats some of them: the page is made from
the files in `docs/benchmarks`, which each benchmark replaces when it succeeds. Short runs leave the page alone.
"""

import subprocess
import sys
import time
from collections.abc import Mapping

import click

from bench import page
from bench.result import FOLDER, QUICK, quick_option, show_table
from tools.documents import ROOT

BENCHMARKS: Mapping[str, str] = {
    "forward": "bench.models.forward",
    "request": "bench.service.request_figures",
    "gateway": "bench.service.gateway",
    "large-images": "bench.models.large_images",
    "int8": "bench.models.int8",
    "detection": "bench.models.detection",
    "baselines": "bench.models.baselines",
    "complexity": "bench.models.complexity",
    "start": "bench.service.start",
    "scale": "bench.service.scale",
    "rivals": "bench.rivals",
}
"""The module of each benchmark."""


def run(name: str, *, quick: bool) -> dict[str, str]:
    """Run a benchmark. Return a row of the summary."""
    began = time.monotonic()
    command = [sys.executable, "-m", BENCHMARKS[name], *["--quick"] * quick]
    print(f"\n{' '.join(['python', *command[1:]])}", flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    outcome = "done" if code == 0 else f"failed with exit code {code}"
    return {"benchmark": name, "outcome": outcome, "minutes": f"{(time.monotonic() - began) / 60:.1f}"}


@click.command()
@quick_option
@click.option("--only", multiple=True, type=click.Choice(list(BENCHMARKS)), help="Run this one; may be repeated.")
def main(*, quick: bool, only: tuple[str, ...]) -> None:
    """Run the benchmarks, write docs/benchmarks.md unless they are short, and print all targets."""
    outcomes = [run(name, quick=quick) for name in only or BENCHMARKS]
    if not quick:
        page.write()
    show_table("benchmarks", outcomes)
    show_table("targets", page.target_rows(page.results(QUICK if quick else FOLDER)))
    if any(outcome["outcome"] != "done" for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
