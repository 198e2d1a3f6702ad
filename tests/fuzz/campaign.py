"""A campaign: one target, fuzzed for some time, with its inputs and findings in a folder."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.finding import ROOT
from tests.fuzz.target import DICTIONARIES, SEEDS

SHORTEST_S = 1


def run(name: str, seconds: int, folder: Path, arguments: Sequence[str] = ()) -> list[Path]:
    """Fuzz a target for some seconds, and return the findings. A fuzzer that ends early is followed by another one.

    `folder` keeps the inputs that reach new code, with which the next campaign starts.
    """
    corpus, findings = folder / name / "corpus", folder / name / "findings"
    for path in (corpus, findings):
        path.mkdir(parents=True, exist_ok=True)
    log = folder / name / "log"
    end = time.monotonic() + seconds
    while (left := int(end - time.monotonic() + 0.5)) >= SHORTEST_S:
        known = set(findings.iterdir())
        status = fuzz(name, findings, log, [f"-max_total_time={left}", *dictionary(name), *arguments, str(corpus)])
        if status and not set(findings.iterdir()) - known:
            raise RuntimeError(f"the fuzzer of {name} ended with {status} and left no finding; its output is in {log}")
    return sorted(path for path in findings.iterdir() if path.suffix != ".txt")


def fuzz(name: str, findings: Path, log: Path, arguments: Sequence[str]) -> int:
    """Run a fuzzer to its end, with the seeds and the corpus. Return its exit code."""
    command = [sys.executable, "-m", "tests.fuzz.fuzzer", name, str(findings), *arguments, str(SEEDS / name)]
    with log.open("ab") as output:
        return subprocess.run(command, cwd=ROOT, check=False, stdout=output, stderr=output).returncode


def dictionary(name: str) -> list[str]:
    """Return the argument for the dictionary of a target, if it has one."""
    path = DICTIONARIES / f"{name}.dict"
    return [f"-dict={path}"] if path.exists() else []
