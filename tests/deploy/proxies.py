"""Real proxies with the committed configuration, in which only addresses are replaced, before two real instances."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.programs import REQUIRED
from tests.prometheus import free_port
from tests.server import TIMEOUT_S, Server, wait_until
from tools.documents import ROOT

DEPLOY = ROOT / "deploy"
FETCHED = Path(sys.prefix) / "proxies"  # where `make .venv/proxies/installed` puts the programs
PLACES = {"nginx": FETCHED / "usr" / "sbin", "envoy": FETCHED / "bin"}
MAIN = """
daemon off;
user root;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include {configuration};
}}
"""


def binary(name: str) -> str:
    """Return the path of a proxy. Skip the test where it is not installed."""
    found = shutil.which(name, path=PLACES[name]) or shutil.which(name)
    if not found:
        reason = f"{name} is not installed; run `make .venv/proxies/installed`"
        pytest.fail(reason) if os.environ.get(REQUIRED) else pytest.skip(reason)
    return found


class Instance:
    """An instance of the service, which keeps its ports when it is started again."""

    def __init__(self, *flags: str) -> None:
        self.ports = free_port(), free_port()
        self.flags = ("--http-port", str(self.ports[0]), "--grpc-port", str(self.ports[1]), *flags)
        self.server: Server | None = None

    def start(self) -> None:
        """Start the service, unless it runs. `wait` returns when it is ready."""
        if self.server is None or self.server.process.poll() is not None:
            self.server = Server(*self.flags, wait=False)

    def kill(self) -> None:
        """Kill all processes of the instance at once, as when its machine fails."""
        supervisor = psutil.Process(self.server.process.pid)
        for process in (supervisor, *supervisor.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.server.process.wait(TIMEOUT_S)

    def freeze_worker(self) -> None:
        """Stop the worker, so that requests stay in flight."""
        os.kill(self.server.pid("worker-0"), signal.SIGSTOP)


def started(instances: Iterable[Instance]) -> None:
    """Start those instances that do not run, and wait until they are ready."""
    for instance in instances:
        instance.start()
    for instance in instances:
        instance.server.wait_for("ready")


class Proxy:
    """A running proxy. `http` and `grpc` are where it listens."""

    def __init__(self, name: str, folder: Path, command: Callable[[Path], list[str]], text: str) -> None:
        self.name, self.log = name, (folder / f"{name}.log").open("wb")
        configuration = folder / f"{name}.yaml"  # Envoy goes by the suffix; nginx has no rule
        configuration.write_text(text)
        self.process = subprocess.Popen(
            command(configuration), cwd=folder, stdout=self.log, stderr=subprocess.STDOUT, env={**os.environ}
        )

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(TIMEOUT_S)
        self.log.close()

    def wait(self, http: str) -> None:
        """Wait until the proxy passes requests on."""
        self.http = http

        def answers() -> bool:
            assert self.process.poll() is None, Path(self.log.name).read_text()
            with suppress(httpx.HTTPError):
                return httpx.get(f"{http}/readyz").status_code == 200
            return False

        wait_until(answers, what=f"{self.name}\n{Path(self.log.name).read_text()}")


def replaced(text: str, values: dict[str, object]) -> str:
    """Return a configuration with other values. Each of them must be there."""
    for old, new in values.items():
        text, count = re.subn(rf"(?<![\d.]){re.escape(old)}(?!\d)", str(new), text)
        assert count, f"the configuration has no {old!r}"
    return text


def nginx(folder: Path, instances: list[Instance], edit: Callable[[str], str] = lambda text: text) -> Proxy:
    """Start nginx before two instances."""
    program, http, rpc = binary("nginx"), free_port(), free_port()
    (first, first_rpc), (second, second_rpc) = (instance.ports for instance in instances)
    text = replaced(
        edit((DEPLOY / "nginx" / "twins.conf").read_text()),
        {
            **{"127.0.0.1:8000": f"127.0.0.1:{first}", "127.0.0.1:8010": f"127.0.0.1:{second}"},
            **{"127.0.0.1:8001": f"127.0.0.1:{first_rpc}", "127.0.0.1:8011": f"127.0.0.1:{second_rpc}"},
            **{"listen 80": f"listen 127.0.0.1:{http}", "listen 81": f"listen 127.0.0.1:{rpc}"},
        },
    )
    main = folder / "main.conf"
    main.write_text(MAIN.format(configuration=folder / "nginx.yaml"))
    proxy = Proxy("nginx", folder, lambda _: [program, "-p", str(folder), "-c", str(main)], text)
    proxy.grpc = f"127.0.0.1:{rpc}"
    proxy.wait(f"http://127.0.0.1:{http}")
    return proxy


def envoy(
    folder: Path,
    instances: list[Instance],
    edit: Callable[[str], str] = lambda text: text,
    file: str = "envoy.yaml",
) -> Proxy:
    """Start Envoy with one of its configurations before two instances."""
    program, http, rpc, admin = binary("envoy"), free_port(), free_port(), free_port()
    (first, first_rpc), (second, second_rpc) = (instance.ports for instance in instances)
    ports = {8000: first, 8010: second, 8001: first_rpc, 8011: second_rpc, 10000: http, 10001: rpc, 9901: admin}
    text = (DEPLOY / "envoy" / file).read_text()
    found = {port: new for port, new in ports.items() if f"port_value: {port}" in text}
    values = {f"port_value: {port}": f"port_value: {new}" for port, new in found.items()}
    text = replaced(edit(text), {**values, "0.0.0.0": "127.0.0.1"})
    options = ("--concurrency", "2", "--disable-hot-restart", "--log-level", "warning")
    proxy = Proxy("envoy", folder, lambda configuration: [program, "-c", str(configuration), *options], text)
    proxy.grpc, proxy.admin = f"127.0.0.1:{rpc}", f"http://127.0.0.1:{admin}"
    proxy.wait(f"http://127.0.0.1:{http}")
    return proxy


PROXIES: dict[str, Callable[..., Proxy]] = {"nginx": nginx, "envoy": envoy}
