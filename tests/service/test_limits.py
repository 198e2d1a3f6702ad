"""What the kernel lets a process do, in processes of their own."""

import subprocess
import sys

import pytest

READ_OWN = """
import resource
from pathlib import Path
from service import limits, metrics
{act}
print(resource.getrlimit(resource.RLIMIT_{limit}), sum(1 for _ in Path("/proc/self/fd").iterdir()) > 0)
"""


def after(act: str, limit: str, *, before: str = "") -> str:
    """Return a limit of a process after an action, and whether the process can read its own descriptors."""
    code = "import resource\n" + before + READ_OWN.format(act=act, limit=limit)
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_a_process_without_core_dumps_still_reads_its_own_descriptors():
    assert after("limits.forbid_core_dumps()", "CORE") == "(0, 0) True"


@pytest.mark.parametrize("soft", [64, 200], ids=["lower", "equal"])
def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one(soft):
    before = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, 200))"
    assert after("limits.raise_open_files()", "NOFILE", before=before) == "(200, 200) True"


def test_a_process_gets_no_more_memory_than_it_may():
    with pytest.raises(subprocess.CalledProcessError) as failed:
        after("limits.bound_memory(2**24)\nbytearray(2**26)", "AS")
    assert "MemoryError" in failed.value.stderr
