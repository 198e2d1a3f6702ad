"""Run a real Prometheus for a test, on a free port of the loopback interface, and its command line tool."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from tests.server import TIMEOUT_S, wait_until
from tools.documents import ROOT

CONFIG = ROOT / "docker" / "prometheus"
FETCHED = Path(sys.prefix) / "prometheus" / "usr" / "bin"  # where `make prometheus` puts the programs


def binary(name: str) -> str | None:
    """Return the path of a program of Prometheus, or None if it is not installed."""
    return shutil.which(name, path=FETCHED) or shutil.which(name)


needs_prometheus = pytest.mark.skipif(
    not (binary("prometheus") and binary("promtool")), reason="Prometheus is not installed; run `make prometheus`"
)


def promtool(*arguments: object) -> subprocess.CompletedProcess:
    """Run promtool."""
    command = [binary("promtool"), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def rules() -> list[dict]:
    """Return all recording and alerting rules."""
    files = sorted((CONFIG / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text("utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configuration(folder: Path, target: str) -> Path:
    """Write the configuration with another target and shorter intervals, so that tests do not wait for minutes."""
    shutil.copytree(CONFIG / "rules", folder / "rules")
    config = yaml.safe_load((CONFIG / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    return file


class Prometheus:
    """A running Prometheus server that scrapes `target`."""

    def __init__(self, folder: Path, target: str, *flags: str) -> None:
        self.base = f"http://127.0.0.1:{free_port()}"
        self.log = (folder / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                binary("prometheus"),
                f"--config.file={configuration(folder, target)}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.base.removeprefix('http://')}",
                *flags,
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        wait_until(self.ready, what="Prometheus")

    def __enter__(self) -> "Prometheus":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT_S)
        self.log.close()

    def ready(self) -> bool:
        """Return whether the server is ready. Raise AssertionError if it has ended."""
        assert self.process.poll() is None, Path(self.log.name).read_text()
        try:
            return httpx.get(f"{self.base}/-/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def query(self, expression: str) -> list[dict]:
        """Return the current series of an expression. Raise AssertionError if the expression is invalid."""
        answer = httpx.get(f"{self.base}/api/v1/query", params={"query": expression}, timeout=TIMEOUT_S).json()
        assert answer["status"] == "success", f"{expression}: {answer['error']}"
        return answer["data"]["result"]

    def wait_for(self, expression: str, enough: Callable[[list[dict]], bool] = bool) -> list[dict]:
        """Wait until an expression has enough series, and return them."""
        return wait_until(lambda: found if enough(found := self.query(expression)) else None, what=expression)
