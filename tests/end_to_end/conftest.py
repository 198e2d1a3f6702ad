"""One service that all tests share which do not change its state."""

from pathlib import Path

import pytest

from tests.server import Server

CAT = Path(__file__).parents[2] / "examples" / "cat.jpg"


@pytest.fixture(scope="session")
def server():
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def cat() -> bytes:
    return CAT.read_bytes()
