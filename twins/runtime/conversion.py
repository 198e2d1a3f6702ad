"""The errors of libraries that convert and write networks."""

from collections.abc import Iterator
from contextlib import contextmanager

from twins.errors import ExportFailed, TwinsError


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
