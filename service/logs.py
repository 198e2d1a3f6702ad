"""One line per event, for people or for machines; never an image's content, never a key."""

import logging
import sys
import warnings
from contextlib import suppress
from functools import partial
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from service.settings import Settings

Logger = FilteringBoundLogger


def configure(settings: Settings, *, process: str) -> None:
    """Sets up this process's logging."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    steps: list[Processor] = [
        partial(add_process, process),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(),
    ]
    if console:
        steps.remove(structlog.processors.format_exc_info)  # the console shows exceptions itself
    structlog.configure(
        processors=steps,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, Unbreakable())),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[Forward()], force=True)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes bodies
    logging.captureWarnings(True)  # noqa: FBT003 - the standard library's signature
    warnings.filterwarnings("ignore", module=r"PIL\.")  # clients' images have no say in our log


class Unbreakable:
    """Standard error, written to whether or not anybody still reads it: no request may fail for its log line."""

    def write(self, text: str) -> None:
        """Writes, or loses, a line."""
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flushes, as far as that goes."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class Forward(logging.Handler):
    """Takes what libraries log to where our own lines go."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        get().log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def add_process(process: str, _: object, __: str, event: EventDict) -> EventDict:
    """Says which process speaks."""
    return {"process": process, **event}


def get() -> Logger:
    """The logger."""
    return cast(Logger, structlog.get_logger())
