"""Objects of other projects in checkpoints."""

import sys
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def history_buffer(monkeypatch):
    """Register a class under mmengine's name while the file is written."""
    for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history, self._count_history = np.arange(3.0), np.ones(3)

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = "mmengine.logging.history_buffer", "HistoryBuffer"
    sys.modules[HistoryBuffer.__module__].HistoryBuffer = HistoryBuffer
    yield HistoryBuffer
    monkeypatch.undo()
