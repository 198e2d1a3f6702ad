"""Which networks are converted for other libraries, and the errors of these."""

from collections.abc import Iterator
from contextlib import contextmanager

from twins.card import TaskName
from twins.errors import ExportFailed, NetworkUnsupported, TwinsError
from twins.runtime.host import HOST_REDUCTIONS


def check_convertible(name: str, task: TaskName) -> None:
    """Raise NetworkUnsupported for a model whose output is not reduced on the host."""
    if task not in HOST_REDUCTIONS:
        raise NetworkUnsupported(
            f"{name}: a detector runs on PyTorch alone, and is not exported; use --backend torch or auto"
        )


@contextmanager
def conversion_errors() -> Iterator[None]:
    """Raise whatever a library raises about a network as ExportFailed. Errors about files and memory pass unchanged."""
    try:
        yield
    except (TwinsError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ExportFailed(f"the network cannot be exported: {reason}. Use --backend torch") from error
