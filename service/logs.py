"""Logging: one line per event, for people or for programs. It never shows the content of an image or an API key."""

import atexit
import json
import logging
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TextIO, cast

import msgspec

from service.log_writer import LogWriter
from service.settings import Settings
from service.tracing.context import CURRENT

# structlog loads rich if it is there, for tracebacks in colour: 75 modules and 4 MB in each process.
rich, sys.modules["rich"] = sys.modules.get("rich"), None  # type: ignore[assignment]
import structlog  # noqa: E402
from structlog.typing import EventDict, FilteringBoundLogger, Processor  # noqa: E402

if rich is None:
    del sys.modules["rich"]
else:
    sys.modules["rich"] = rich

STDERR = 2
MAX_LINES = 10_000  # that wait to be written; further lines are dropped
FLUSH_S = 1.0

ENCODER = msgspec.json.Encoder(enc_hook=str)

Logger = FilteringBoundLogger

writer: LogWriter | None = None


def configure(settings: Settings, *, process: str, on_drop: Callable[[str], None]) -> None:
    """Set up the logging of this process. Lines go to standard error from a thread of their own.

    `on_drop` is called with the name of the process for every line that is dropped.
    """
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    steps: list[Processor] = [
        partial(add_process, process),
        add_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer(),
    ]
    if not console:
        steps = [structlog.processors.format_exc_info, partial(render_json, process)]
    structlog.configure(
        processors=steps,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, start_writer(partial(on_drop, process)))),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[Forward()], force=True)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes request bodies
    logging.captureWarnings(True)  # noqa: FBT003 - the standard library's signature
    warnings.filterwarnings("ignore", module=r"PIL\.")  # the content of clients' images does not belong in the log


def configure_command() -> None:
    """Send the log of a command to standard error: its results are on standard output."""
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def start_writer(on_drop: Callable[[], None]) -> LogWriter:
    """Return a writer to standard error."""
    global writer  # noqa: PLW0603 - a process has one standard error
    flush()
    writer = LogWriter(STDERR, max_lines=MAX_LINES, on_drop=on_drop)
    atexit.register(writer.wait_until_written, FLUSH_S)
    return writer


def flush() -> None:
    """Wait until the lines so far are written, for a bounded time. Call this before `os._exit`."""
    if writer is not None:
        writer.wait_until_written(FLUSH_S)


class Forward(logging.Handler):
    """Sends the records that libraries log to our own log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        get().log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def add_process(process: str, _: object, __: str, event: EventDict) -> EventDict:
    """Add the name of this process to an event."""
    return {"process": process, **event}


def add_trace(_: object, __: str, event: EventDict) -> EventDict:
    """Add the trace of the running task to an event, if it has one."""
    return {**event, **trace_fields()}


def trace_fields() -> dict[str, str]:
    """Return the fields that name the trace of the running task and its span."""
    context = CURRENT.get()
    return {} if context is None else {"trace_id": context.trace_id, "span_id": context.span_id}


def render_json(process: str, _: object, level: str, event: EventDict) -> str:
    """Return an event as a line of JSON. One step costs half as much as a chain, and every request logs a line."""
    timestamp = datetime.now(UTC).replace(tzinfo=None).isoformat() + "Z"
    line = {"process": process, **event, **trace_fields(), "level": level, "timestamp": timestamp}
    try:
        return ENCODER.encode(line).decode()
    except UnicodeEncodeError:  # a value is not valid Unicode; the standard library escapes it
        return json.dumps(line, default=str)


def get() -> Logger:
    """Return the logger."""
    return cast(Logger, structlog.get_logger())
