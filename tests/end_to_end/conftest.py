"""One service that all tests share which do not change its state."""

from pathlib import Path

import pytest

from tests import detection
from tests.server import Server

CAT = Path(__file__).parents[2] / "examples" / "cat.jpg"


@pytest.fixture(scope="session")
def server():
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def cat() -> bytes:
    return CAT.read_bytes()


@pytest.fixture(scope="session")
def detector(tmp_path_factory) -> str:
    """Return a small detector as a value of `--model`."""
    return f"tiny={detection.tiny(tmp_path_factory.mktemp('weights'))}"


@pytest.fixture(scope="session")
def flags(detector) -> dict[str, tuple[str, ...]]:
    """Return the flags of a service that answers the calls of a task, by the path of the task."""
    return {"classify": (), "detect": ("--model", detector)}
