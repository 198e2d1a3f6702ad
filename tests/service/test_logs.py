"""The log: one format for all lines, and no blocking if standard error is not read."""

import json
import logging
import os
import warnings
from contextlib import suppress

import pytest
import structlog

from service import logs
from service.log_writer import LogWriter
from service.settings import Settings
from service.tracing.context import TraceContext, within
from tests.server import TIMEOUT_S


@pytest.fixture
def written(capfd):
    """Return what has been written to standard error, and restore the logging at the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def read() -> str:
        logs.flush()
        return capfd.readouterr().err

    yield read
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level


def configure(**settings) -> logs.Logger:
    logs.configure(Settings(**settings), process="frontend-0", on_drop=lambda _: None)
    return logs.get()


def test_a_json_line_has_the_event_the_process_and_the_time(written):
    configure(log_format="json").info("request", code="ok")
    line = json.loads(written())
    assert (line["event"], line["code"], line["process"], line["level"]) == ("request", "ok", "frontend-0", "info")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_line_within_a_trace_has_its_ids(written, log_format):
    log = configure(log_format=log_format)
    with within(TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=False)):
        log.info("request")
    log.info("later")
    inside, outside = written().splitlines()
    assert "0af7651916cd43dd8448eb211c80319c" in inside
    assert "b7ad6b7169203331" in inside
    assert "trace_id" not in outside


def test_a_cause_is_part_of_its_line(written):
    configure(log_format="json").error("broke", exc_info=ValueError("why"))
    assert "ValueError: why" in json.loads(written())["exception"]


def test_a_text_that_is_not_valid_unicode_is_escaped_in_its_line(written):
    configure(log_format="json").info("request", path="/\ud800")
    line = json.loads(written())
    assert (line["path"], line["process"]) == ("/\ud800", "frontend-0")


def test_console_lines_are_not_json(written):
    configure(log_format="console").info("request", code="ok")
    found = written()
    assert "request" in found
    assert not found.startswith("{")


def test_lines_below_the_level_are_left_out(written):
    configure(log_format="json", log_level="warning").info("request")
    assert written() == ""


def test_logs_and_warnings_of_libraries_have_the_same_format(written):
    configure(log_format="json")
    logging.getLogger("uvicorn.error").warning("odd request")
    warnings.warn("old", DeprecationWarning, stacklevel=1)
    found = [json.loads(line) for line in written().splitlines()]
    assert found[0]["logger"] == "uvicorn.error"
    assert all({"event", "level", "process"} <= line.keys() for line in found)


def test_bodies_that_a_library_would_quote_are_not_logged(written):
    configure(log_format="json")
    logging.getLogger("python_multipart.multipart").error("expected boundary character 45, got 104")
    assert written() == ""


@pytest.fixture
def full_pipe():
    """Return the writing end of a pipe that has no room left and whose reading end stays open."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)  # ends the blocked write
    os.close(writer)


def test_a_full_pipe_does_not_block_and_its_lines_are_dropped_and_counted(full_pipe):
    dropped = []
    writer = LogWriter(full_pipe, max_lines=3, on_drop=lambda: dropped.append(1))
    for _ in range(10):
        writer.write("line\n")
    writer.wait_until_written(0.01)
    assert 6 <= len(dropped) <= 7  # one line may be in the thread, and three wait


def test_a_line_that_cannot_be_written_is_counted_and_raises_no_error():
    dropped = []
    reader, descriptor = os.pipe()
    os.close(reader)
    writer = LogWriter(descriptor, max_lines=3, on_drop=lambda: dropped.append(1))
    writer.write("line\n")
    writer.wait_until_written(TIMEOUT_S)
    writer.write("another\n")
    writer.wait_until_written(TIMEOUT_S)
    os.close(descriptor)
    assert len(dropped) == 2


def test_a_line_waits_for_room_in_a_descriptor_that_does_not_block():
    reader, descriptor = os.pipe()
    os.set_blocking(descriptor, False)
    dropped = []
    writer = LogWriter(descriptor, max_lines=3, on_drop=lambda: dropped.append(1))
    size = 1 << 20  # more than a pipe has room for
    writer.write("x" * size)
    writer.wait_until_written(0.1)
    read = 0
    while read < size and not dropped:
        read += len(os.read(reader, size))
    writer.wait_until_written(TIMEOUT_S)
    os.close(descriptor)
    os.close(reader)
    assert (read, dropped) == (size, [])
