"""A machine with GPUs, as far as NVIDIA's management library tells: a library of that name, built from `nvml.c`."""

import shutil
import subprocess
from pathlib import Path

import pytest

COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler to build the library with")


def build(folder: Path) -> dict[str, str]:
    """Builds the library there; the environment in which processes find it, and no other."""
    assert COMPILER
    library = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML_LOST": str(folder / "lost")}
