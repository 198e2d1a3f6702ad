"""Run the service and Prometheus with the Compose files, in an engine of the test."""

import json
import resource

import httpx

from tests.container import images
from tests.container.engine import Engine, compose
from tests.prometheus import free_port

NOFILE = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])  # an engine cannot grant more than its own limit
STARTED = ("twins", "prometheus")  # Grafana's image is not to be had without a registry


class Stack:
    """A running stack. `settings` are the variables of `.env`."""

    def __init__(self, engine: Engine, name: str, *, services: tuple[str, ...] = STARTED, **settings: str) -> None:
        self.engine, self.name, self.services = engine, name, services
        self.ports = {port: free_port() for port in ("HTTP_PORT", "GRPC_PORT", "PROMETHEUS_PORT")}
        self.environ = {
            **engine.environ,
            **{port: str(number) for port, number in self.ports.items()},
            **{"IMAGE": images.SERVICE, "PROMETHEUS_IMAGE": images.PROMETHEUS, "NOFILE": str(NOFILE)},
            **settings,
        }

    def __enter__(self) -> "Stack":
        try:
            self.compose("up", "--detach", "--no-build", "--wait", *self.services)
        except AssertionError as error:
            said = self.compose("logs", "--no-color")
            self.__exit__()
            raise AssertionError(f"{error}\n{said}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.compose("down", "--volumes", "--timeout", "10")

    def compose(self, *arguments: str) -> str:
        """Return the output of Compose."""
        return compose("--project-name", self.name, *arguments, files=images.CPU_FILES, environ=self.environ)

    @property
    def http(self) -> str:
        """Return the base URL."""
        return f"http://127.0.0.1:{self.ports['HTTP_PORT']}"

    @property
    def grpc(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self.ports['GRPC_PORT']}"

    def container(self, service: str = "twins") -> str:
        """Return the id of the container of a service, which may have ended."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    def facts(self, service: str = "twins") -> dict:
        """Return the description of the container."""
        return self.engine.inspect(self.container(service))

    def python(self, script: str) -> str:
        """Return the output of a script that runs in the container of the service."""
        return self.engine.docker("exec", self.container(), "python", "-c", script)

    def models(self) -> dict[str, str]:
        """Return every served model and its task."""
        listed = httpx.get(f"{self.http}/models").raise_for_status().json()
        return {model["name"]: model["task"] for model in listed["models"]}

    def ready(self) -> bool:
        """Return whether the service is ready."""
        try:
            return httpx.get(f"{self.http}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def events(self) -> list[dict]:
        """Return the log of the service."""
        lines = self.engine.logs(self.container()).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def counted(self, model: str, protocol: str) -> float:
        """Return the number of answered requests that Prometheus has counted."""
        labels = f'model="{model}", protocol="{protocol}", code="ok"'
        asked = {"query": f"sum(twins_requests_total{{{labels}}})"}
        answer = httpx.get(f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}/api/v1/query", params=asked)
        found = answer.raise_for_status().json()["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0
