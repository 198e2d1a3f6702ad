"""The systemd unit: as systemd's own tools judge it, and in a real systemd."""

import asyncio
import json
import subprocess

import pytest

from service.settings import Settings
from tests.certificates import Authority
from tests.deploy.machine import UNITS, start
from tests.programs import need
from tests.server import wait_until
from tools.documents import ROOT

CAT = (ROOT / "examples" / "cat.jpg").read_bytes()
EXPOSURE = 20  # of 100, in systemd's own estimate: the unit that has no protection at all gets 96
KEYS = """
[[keys]]
name = "team-a"
sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
scopes = ["infer", "models"]
"""  # of "secret"
SHORT = """
[Service]
Environment=TWINS_MODELS=twins_svt_nano
Environment=TWINS_DRAIN_DELAY_S=0.2
WatchdogSec=2s
RestartSec=100ms
StandardError=append:/run/twins.log
"""


def unit() -> dict[str, str]:
    """Return the values of the unit by name, without those that it has several times."""
    lines = (UNITS / "twins.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_unit_exposes_little():
    need("systemd-analyze")
    file = str(UNITS / "twins.service")
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", file],
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert ran.returncode == 0, ran.stdout.decode()


def test_the_time_to_stop_fits_the_drain_delay_and_the_grace():
    defaults = Settings()
    assert unit()["TimeoutStopSec"] == f"{defaults.drain_delay_s + defaults.grace_s + 12:g}s"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Start a systemd with the unit, its drop-in files for keys and TLS, and shorter times."""
    folder = tmp_path_factory.mktemp("systemd")
    issued = Authority(folder, "ca").issue("tls")
    files = {"tls.crt": issued.certificate.read_bytes(), "tls.key": issued.key.read_bytes(), "keys.toml": KEYS.encode()}
    drop_ins = {file.name: file.read_text() for file in (UNITS / "twins.service.d").iterdir()}
    with start(folder, {**drop_ins, "short.conf": SHORT}, files) as running:
        running.run("systemctl", "start", "twins")
        yield running


def events(machine, name: str) -> list[dict]:
    """Return the log events of this name so far."""
    lines = machine.run("cat", "/run/twins.log").stdout.splitlines()
    return [event for event in (json.loads(line) for line in lines) if event["event"] == name]


def classified(machine, *headers: str) -> str:
    """Return the status with which the service answers an image."""
    options = [part for header in headers for part in ("--header", header)]
    asked = ("curl", "--silent", "--insecure", "--output", "/dev/null", "--write-out", "%{http_code}", *options)
    return machine.run(*asked, "--data-binary", "@-", "https://127.0.0.1:8000/classify", text=CAT, check=False).stdout


KEY = "X-API-Key: secret"


@pytest.mark.heavy
def test_systemd_accepts_the_unit_and_its_drop_in_files(machine):
    ran = machine.run("systemd-analyze", "verify", "/etc/systemd/system/twins.service")
    assert ran.stdout + ran.stderr == ""


@pytest.mark.heavy
def test_the_start_ends_when_the_service_is_ready(machine):
    assert machine.show("ActiveState") == "active"
    assert machine.show("StatusText") == "Serving: 1 of 1 workers ready"
    assert classified(machine, KEY) == "200"


@pytest.mark.heavy
def test_keys_and_certificates_come_from_files_that_root_alone_can_read(machine):
    assert classified(machine) == "401"
    user = machine.run("ps", "-o", "user=", "-p", machine.show("MainPID")).stdout.strip()
    assert user == "twins"
    assert machine.run("runuser", "-u", "nobody", "--", "cat", "/etc/twins/tls.key", check=False).returncode != 0


@pytest.mark.heavy
def test_a_worker_that_dies_is_no_failure_of_the_unit(machine):
    pid = machine.show("MainPID")
    machine.run("pkill", "-KILL", "-f", "service.processes.worker")
    wait_until(lambda: machine.show("StatusText") == "Not serving: 0 of 1 workers ready", what="the status")
    wait_until(lambda: machine.show("StatusText") == "Serving: 1 of 1 workers ready", what="the next worker")
    assert (machine.show("MainPID"), machine.show("NRestarts")) == (pid, "0")


@pytest.mark.heavy
def test_a_supervisor_that_hangs_is_killed_and_the_service_started_again(machine):
    pid = machine.show("MainPID")
    machine.run("kill", "-STOP", pid)
    wait_until(lambda: machine.show("NRestarts") == "1", what="the restart")
    wait_until(lambda: machine.show("ActiveState") == "active", what="the service")
    assert machine.show("MainPID") not in (pid, "0")
    assert classified(machine, KEY) == "200"


@pytest.mark.heavy
async def test_a_stop_drains_the_service_and_is_a_success(machine):
    asking = [asyncio.to_thread(classified, machine, KEY) for _ in range(8)]
    answers = asyncio.gather(*asking)
    await asyncio.to_thread(machine.run, "systemctl", "stop", "twins")
    assert set(await answers) <= {"200", "000"}  # 000: curl found no listening service any more
    assert (machine.show("ActiveState"), machine.show("Result")) == ("inactive", "success")
    assert events(machine, "stopped")[-1]["code"] == 0


@pytest.mark.heavy
def test_a_service_with_wrong_settings_is_not_started_again_and_again(machine):
    machine.run("bash", "-c", "echo TWINS_HTTP_PORT=none >/etc/twins/twins.env")
    machine.run("systemctl", "start", "twins", check=False)
    assert (machine.show("Result"), machine.show("ExecMainStatus")) == ("exit-code", "2")
    assert machine.show("ActiveState") == "failed"
