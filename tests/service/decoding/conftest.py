"""Fixtures of the tests of decoding: the engine's."""

from tests.service.core.conftest import gate, make, pool

__all__ = ["gate", "make", "pool"]
