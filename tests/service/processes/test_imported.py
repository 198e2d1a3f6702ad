"""What the processes import: modules that they do not use would cost each start time and each process memory."""

import subprocess
import sys

import pytest

UNUSED = {
    "service.processes.supervisor": {"torch", "fastapi", "grpc", "rich"},
    "service.processes.frontend": {"torch", "openvino", "rich"},
    "service.cli.serve": {"torch", "rich", "service.cli.evaluate", "service.core.local"},
}


@pytest.mark.parametrize("module", UNUSED)
def test_a_process_imports_nothing_large_that_it_does_not_use(module):
    printed = subprocess.check_output([sys.executable, "-c", f"import {module}, sys; print(*sys.modules)"], text=True)
    assert not UNUSED[module] & set(printed.split())
