"""Build the images under test on a base of Debian packages."""

import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.container.engine import VENV, Engine, compose
from tests.prometheus import FETCHED

BASE = "localhost/base:bookworm"
SERVICE = "localhost/twins-serving:test"
PROMETHEUS = "localhost/prometheus:debian"
CPU_FILES = ("docker-compose.yml", "docker-compose.cpu.yml")


def build(engine: Engine) -> None:
    """Build all images."""
    engine.docker("import", "--change", 'CMD ["bash"]', str(VENV / "base.tar"), BASE)
    build_service(engine)
    file = str(Path(__file__).with_name("prometheus.Dockerfile"))
    engine.docker(*BUILD, "--tag", PROMETHEUS, "--build-arg", f"BASE_IMAGE={BASE}", "--file", file, str(FETCHED))


BUILD = ("build", "--network", "host")


def build_service(engine: Engine) -> None:
    """Build the image of the service as for a CPU host. Its packages come only from `make .venv/wheels`."""
    said = compose("config", "--format", "json", files=CPU_FILES, environ={"BASE_IMAGE": BASE, "REVISION": "tested"})
    wanted = json.loads(said)["services"]["twins"]["build"]
    with served(VENV / "wheels") as wheels:
        arguments = {**wanted["args"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels}
        flags = [part for name, value in arguments.items() if value for part in ("--build-arg", f"{name}={value}")]
        engine.docker(
            *(*BUILD, "--tag", SERVICE, *flags, "--file", f"{wanted['context']}/{wanted['dockerfile']}"),
            wanted["context"],
            DOCKER_BUILDKIT="1",
        )


class QuietHandler(SimpleHTTPRequestHandler):
    """Serve files without logging."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path):
    """Serve a folder on the loopback interface. Yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
