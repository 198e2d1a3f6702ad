"""The command that prints the figures of the model cards."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("arguments", [[], ["/nowhere"]], ids=["none", "missing"])
def test_without_data_the_command_says_what_it_needs(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "bench.cards", *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Missing folders of DATA: photos/val, masks/val, masks/test" in done.stderr
    assert "Traceback" not in done.stderr
