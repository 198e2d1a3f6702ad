"""The fuzzers, which run beside the scenario that takes an hour, with the lowest priority."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from tools.documents import ROOT

SECONDS = 600  # for each target; five of them take less than the hour
BESIDE = "days"  # the scenario


@contextmanager
def beside(scenario: str, *, short: bool) -> Iterator[list[int]]:
    """Fuzz during a block if that is the time for it. The list has the exit code afterwards."""
    codes: list[int] = []
    if short or scenario != BESIDE or find_spec("tests.fuzz") is None:
        yield codes
        return
    command = ["nice", "-n", "19", sys.executable, "-m", "tests.fuzz", "--seconds", str(SECONDS)]
    with subprocess.Popen(command, cwd=ROOT) as running:
        yield codes
    codes.append(running.returncode)
