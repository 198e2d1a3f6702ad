"""Programs of other projects that tests run. `make .venv/tools/installed` installs them."""

import os
import shutil
import subprocess

import pytest

from tools.compatibility import BUF
from tools.documents import ROOT

FOLDERS = (ROOT / ".venv" / "tools" / "bin", BUF.parent)
REQUIRED = "TESTS_NEED_TOOLS"
"""The environment variable with which the tests fail where a program is missing, instead of being skipped."""

PATH = os.pathsep.join([*map(str, FOLDERS), os.environ.get("PATH", os.defpath)])


def need(*names: str) -> None:
    """Skip the test unless all these programs are installed."""
    missing = [name for name in names if not shutil.which(name, path=PATH)]
    if missing:
        reason = f"not installed: {', '.join(missing)}; run `make .venv/tools/installed`, or install Debian's package"
        pytest.fail(reason) if os.environ.get(REQUIRED) else pytest.skip(reason)


def output(name: str, *arguments: str) -> str:
    """Return what a program prints, to either stream."""
    ran = subprocess.run([name, *arguments], env={**os.environ, "PATH": PATH}, capture_output=True, check=True)
    return (ran.stdout + ran.stderr).decode()
