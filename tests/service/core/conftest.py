"""Fixtures of the engine's tests."""

import threading
from collections.abc import Callable

import pytest

from service.core.engine import Engine
from service.settings import Settings
from tests.service.core.engines import FakePool


@pytest.fixture
async def pool():
    return FakePool()


@pytest.fixture
async def make(pool) -> Callable[..., Engine]:
    """Return a function that makes an engine with these settings, which knows its models."""

    def engine(**settings) -> Engine:
        return Engine(Settings(**settings), pool)

    return engine


@pytest.fixture
async def engine(make):
    return make()


@pytest.fixture
def gate():
    """Block threads until it is set."""
    opened = threading.Event()
    yield opened
    opened.set()
