"""`twins load` against a running service."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import Server, wait_until

TWINS = str(Path(sys.executable).with_name("twins"))
SHORT = ("--seconds", "1.5", "--warm-up-s", "0.2", "--clients", "2")
NOTHING_SUCCEEDED, USAGE = 1, 2


def load(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [TWINS, "load", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def report(*arguments: object) -> dict:
    """Run the command, and return its report."""
    ended = load(*arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_http_is_measured(server):
    found = report(f"{server.http}/classify", *SHORT)
    assert found["succeeded"] == found["requests"] > 0
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99.9"] <= found["latency_ms"]["max"]
    assert found["generator_cpu_ms"] > 0


def test_grpc_is_measured_with_the_options_of_a_task(server):
    found = report(f"grpc://{server.grpc}/segment", *SHORT, "--option", "format=MASK_FORMAT_RLE")
    assert found["succeeded"] == found["requests"] > 0


def test_an_open_loop_sends_at_its_rate(server):
    found = report(f"{server.http}/classify", "--rate", 10, "--seconds", 3, "--warm-up-s", 0.2)
    assert 12 <= found["requests"] <= 55  # 30 on average
    assert found["schedule"] == "open loop, 10 requests/s"
    assert "p99" in found["late_ms"]


def test_options_and_the_media_type_reach_the_service(server):
    found = report(f"{server.http}/segment", *SHORT, "--accept", "image/png", "--option", "format=overlay")
    assert found["succeeded"] == found["requests"] > 0


@pytest.mark.parametrize(("scheme", "task"), [("http", "classify"), ("grpc", "classify")])
def test_errors_are_shown_by_code_and_nothing_that_succeeds_is_a_failure(server, scheme, task):
    address = server.http if scheme == "http" else f"grpc://{server.grpc}"
    ended = load(f"{address}/{task}", *SHORT, "--option", "model=nothing")
    assert ended.returncode == NOTHING_SUCCEEDED
    assert "failed: unknown_model" in ended.stdout


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_the_api_key_is_sent(scheme):
    with Server("--api-key", "alice:secret", "--model", "twins_svt_nano") as guarded:
        address = guarded.http if scheme == "http" else f"grpc://{guarded.grpc}"
        assert "failed: unauthenticated" in load(f"{address}/classify", *SHORT).stdout
        assert report(f"{address}/classify", *SHORT, "--api-key", "secret")["succeeded"] > 0


def test_a_service_that_is_not_there_is_an_error_that_is_counted():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ended = load(f"http://127.0.0.1:{unused.getsockname()[1]}", *SHORT)
    assert ended.returncode == NOTHING_SUCCEEDED
    assert "failed: cannot_connect" in ended.stdout


def test_the_images_of_a_folder_are_sent(server, tmp_path, cat):
    (tmp_path / "cat.jpg").write_bytes(cat)
    (tmp_path / "broken.jpg").write_bytes(cat[:100])
    found = report(f"{server.http}/classify", *SHORT, "--images", tmp_path)
    assert found["succeeded"] > 0
    assert set(found["errors"]) == {"unreadable_image"}


def test_a_plot_is_written(server, tmp_path):
    report(f"{server.http}/classify", *SHORT, "--plot", tmp_path / "load.svg")
    assert "<svg" in (tmp_path / "load.svg").read_text()


def test_an_interrupt_ends_the_run_with_a_report(server):
    command = [TWINS, "load", f"{server.http}/classify", "--seconds", "60", "--json", "--warm-up-s", "0"]
    served = server.metric("twins_requests_total")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        wait_until(lambda: server.metric("twins_requests_total") > served + 5)
        running.send_signal(signal.SIGINT)
        assert json.loads(running.communicate(timeout=30)[0])["succeeded"] > 0
    assert running.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ftp://host/",), "must start with http://, https://, grpc://"),
        (("grpc://127.0.0.1:1/paint",), "the path must be the name of a task"),
        (("grpc://127.0.0.1:1/classify", "--option", "colour=red"), "colour"),
        (("http://127.0.0.1:1", "--option", "top_k"), "NAME=VALUE"),
        (("http://127.0.0.1:1", "--images", "/nowhere"), "no such file or folder"),
    ],
)
def test_a_wrong_argument_is_explained(arguments, message):
    ended = load(*arguments)
    assert ended.returncode == USAGE
    assert message in ended.stderr
