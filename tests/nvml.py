"""A fake NVML library with two GPUs, built from `nvml.c`."""

import shutil
import subprocess
from pathlib import Path

import pytest

COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler to build the library")


def build(folder: Path) -> dict[str, str]:
    """Build the library in a folder. Return the environment in which processes find this library and no other."""
    assert COMPILER
    library = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML_LOST": str(folder / "lost")}
