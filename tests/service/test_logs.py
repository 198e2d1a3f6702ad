"""What an operator reads: lines of one form, whoever speaks, and no request that depends on them."""

import io
import json
import logging
import sys
import warnings

import pytest
import structlog

from service import logs
from service.settings import Settings


@pytest.fixture
def written(capsys):
    """What has been written to standard error; the logging of before comes back at the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level


def configure(**settings) -> logs.Logger:
    logs.configure(Settings(**settings), process="frontend-0")
    return logs.get()


def test_a_line_of_json_says_what_happened_where_and_when(written):
    configure(log_format="json").info("request", code="ok")
    line = json.loads(written())
    assert (line["event"], line["code"], line["process"], line["level"]) == ("request", "ok", "frontend-0", "info")
    assert line["timestamp"].endswith("Z")


def test_a_cause_is_part_of_its_line(written):
    configure(log_format="json").error("broke", exc_info=ValueError("why"))
    assert "ValueError: why" in json.loads(written())["exception"]


def test_lines_for_people_are_not_json(written):
    configure(log_format="console").info("request", code="ok")
    found = written()
    assert "request" in found
    assert not found.startswith("{")


def test_lines_below_the_level_are_left_out(written):
    configure(log_format="json", log_level="warning").info("request")
    assert written() == ""


def test_what_libraries_log_and_warn_of_has_the_same_form(written):
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


def test_a_line_that_nobody_can_read_is_lost_without_an_error(written, monkeypatch):
    class Broken(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    log = configure(log_format="json")
    monkeypatch.setattr(sys, "stderr", Broken())
    log.info("request")
    monkeypatch.undo()
    assert written() == ""
