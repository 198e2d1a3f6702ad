"""The environments of clients whose libraries do not fit beside the service's, and how a script runs in one."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.documents import ROOT

FOLDER = ROOT / ".venv" / "clients"


def run(environment: str, script: str, *arguments: str) -> dict:
    """Return what a script of this folder prints, as JSON. `make .venv/clients/installed` makes the environments."""
    return printed(environment, str(Path(__file__).parent / script), *arguments)


def evaluate(environment: str, program: str) -> Any:
    """Return what a program in Python prints, as JSON."""
    return printed(environment, "-c", program)


def printed(environment: str, *arguments: str) -> Any:
    """Return what the interpreter of an environment prints in its last line, as JSON."""
    python = FOLDER / environment / "bin" / "python"
    if not python.exists():
        pytest.skip("the environments of the clients are not installed; run `make .venv/clients/installed`")
    ran = subprocess.run([python, *arguments], check=False, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
