"""Fixtures of all tests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Return a temporary folder whose path leaves room for the names of sockets, unlike those of `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)
