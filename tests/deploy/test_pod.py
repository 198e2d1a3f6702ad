"""The service runs under the restrictions of the chart's pod, and its probes and its end are as the pod expects."""

import os
import shutil
import subprocess
import sys

import httpx
import pytest

from tests.deploy.manifests import need_helm, pod_of
from tests.deploy.pod import RunningPod
from tests.server import wait_until
from tools.chart import manifests, render

VALUES = {"gpu.count": 0, "models": ["twins_svt_nano"], "drainDelaySeconds": 1, "settings": {"frontends": 1}}


def can_isolate() -> bool:
    """Return whether this process may create a mount namespace."""
    tools = all(map(shutil.which, ("unshare", "chroot", "setpriv")))
    return tools and os.geteuid() == 0 and not subprocess.run(["unshare", "--mount", "true"], check=False).returncode


@pytest.fixture
def pod():
    """The pod of the chart, without a GPU."""
    need_helm()
    return pod_of(manifests(render(chosen=VALUES)))


@pytest.mark.skipif(not can_isolate(), reason="only root may create a mount namespace")
def test_a_pod_starts_serves_and_ends_within_its_restrictions(tmp_path, cat, pod):
    with RunningPod(tmp_path, pod) as running:
        running.wait_for("startupProbe")
        running.wait_for("readinessProbe")
        assert running.passes("livenessProbe")
        kernel = running.status()
        assert kernel["Uid"].split() == [str(pod["securityContext"]["runAsUser"])] * 4
        assert (int(kernel["CapEff"], 16), int(kernel["CapBnd"], 16), kernel["NoNewPrivs"]) == (0, 0, "1")
        url = f"http://127.0.0.1:{running.port}/classify"
        assert httpx.post(url, content=cat).json()["model"] == "twins_svt_nano"
        running.terminate()
        wait_until(lambda: not running.passes("readinessProbe"), what="the end of readiness")
        assert running.passes("livenessProbe")
        assert httpx.post(url, content=cat).status_code == 200
        assert running.process.wait(running.grace_s) == 0, running.said()
        assert "Read-only file system" not in running.said()


@pytest.mark.skipif(not can_isolate(), reason="only root may create a mount namespace")
def test_the_file_system_of_the_pod_is_read_only_but_for_its_volumes(tmp_path, pod):
    write = "import pathlib, sys\nfor name in sys.argv[1:]:\n    pathlib.Path(name, 'new').touch()\n    print(name)"
    (container,) = pod["containers"]
    container["args"] = []
    with RunningPod(tmp_path, pod) as running:
        running.process.wait(60)
        command = list(running.process.args)
    start = command.index("-m")
    environ = running.environment()
    for folder, writable in (("/tmp", True), ("/weights", True), ("/", False), ("/usr", False), (sys.prefix, False)):
        ran = subprocess.run([*command[:start], "-c", write, folder], env=environ, capture_output=True, check=False)
        assert (ran.returncode == 0) == writable, (folder, ran.stderr)
        assert (b"Read-only file system" in ran.stderr) == (not writable), (folder, ran.stderr)


def test_variables_of_a_service_whose_name_begins_with_twins_would_end_the_start(pod):
    environ = {**os.environ, "TWINS_CANARY_SERVICE_HOST": "10.96.0.7"}
    command = [sys.executable, "-m", "service.cli", "serve", "--http-port", "0", "--grpc-port", "0"]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 2
    assert "TWINS_CANARY_SERVICE_HOST is not a setting" in ran.stderr
    assert pod["enableServiceLinks"] is False
