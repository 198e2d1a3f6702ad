"""The fuzzers, which run beside the scenario that takes an hour, with the lowest priority."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fuzz.target import TARGETS
from tests.soak.days import LONG_S
from tools.documents import ROOT

BESIDE = "days"  # the scenario
SECONDS = int(0.9 * LONG_S / len(TARGETS))  # for each target, one after the other
COMMAND = ("nice", "-n", "19", sys.executable, "-m", "tests.fuzz", "--seconds", str(SECONDS))


@contextmanager
def beside(scenario: str, *, short: bool) -> Iterator[list[int]]:
    """Fuzz during a block if that is the time for it. The list has the exit code afterwards, also if none could run."""
    codes: list[int] = []
    if short or scenario != BESIDE:
        yield codes
        return
    with subprocess.Popen(COMMAND, cwd=ROOT) as running:
        yield codes
    codes.append(running.returncode)
