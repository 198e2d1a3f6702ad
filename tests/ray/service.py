"""The service on a Ray cluster of three nodes, for tests."""

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.programs import REQUIRED
from tests.server import TIMEOUT_S
from tools.documents import ROOT

PYTHON = ROOT / ".venv" / "ray" / "bin" / "python"
PORTS = [{"http": port, "grpc": port + 1} for port in (18100, 18110, 18120)]
"""Of the proxy of each node. The tests run in a network namespace of their own, where all ports are free."""

ENVIRON = {
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "service.ray.proxy.middlewares",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": str(ROOT),
}


def need_ray() -> None:
    """Skip the test unless Ray is installed."""
    if not PYTHON.exists():
        reason = "Ray is not installed; run `make .venv/ray/installed`"
        pytest.fail(reason) if os.environ.get(REQUIRED) else pytest.skip(reason)


class RayService:
    """The service on a cluster. Its addresses are those of the first node, as a `Server` has them."""

    http, grpc = f"http://127.0.0.1:{PORTS[0]['http']}", f"127.0.0.1:{PORTS[0]['grpc']}"
    every_http = tuple(f"http://127.0.0.1:{each['http']}" for each in PORTS)
    every_grpc = tuple(f"127.0.0.1:{each['grpc']}" for each in PORTS)

    def __init__(self) -> None:
        need_ray()
        self.folder = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
        self.log = Path(self.folder.name) / "log"
        self.process = subprocess.Popen(
            [PYTHON, "-m", "tests.ray.cluster", json.dumps(PORTS)],
            cwd=ROOT,
            env={**os.environ, **ENVIRON, "RAY_TMPDIR": self.folder.name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("wb"),
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> "RayService":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(TIMEOUT_S)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self.folder.cleanup()

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Return the cluster's answer to a command."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([command, arguments]) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):  # Ray prints there as well
                return json.loads(line)
        raise AssertionError(f"the cluster ended:\n{self.log.read_text('utf-8', 'replace')[-4000:]}")
