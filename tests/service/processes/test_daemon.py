"""Functions in threads that do not keep the process from ending."""

import subprocess
import sys

import pytest

from service.processes.daemon import in_daemon_thread


async def test_the_caller_gets_what_the_function_returns():
    assert await in_daemon_thread(lambda: 7) == 7


async def test_the_caller_gets_the_error_of_the_function():
    with pytest.raises(ZeroDivisionError):
        await in_daemon_thread(lambda: 1 / 0)


def test_a_process_ends_while_a_function_still_runs():
    program = """
import asyncio, time
from service.processes.daemon import in_daemon_thread
async def main():
    task = asyncio.create_task(in_daemon_thread(lambda: time.sleep(300)))
    await asyncio.sleep(0.1)
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=30, check=False).returncode == 0
