"""The wheels in new environments: the service is installed and asked, by curl and by the client that is released.

The programs run outside of the checkout, so that they can find only what is in the wheels.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.documents import ROOT

IMAGE = ROOT / "examples" / "cat.jpg"
START_S = 300.0  # the first start exports the models
END_S = 60.0

ASK = """
import sys
from twins_client import Client, GrpcClient
http, grpc, image = sys.argv[1:]
with Client(http) as one, GrpcClient(grpc) as other:
    print(one.classify(image).best.label, other.classify(image).best.label, len(one.detect(image).labels) > 0)
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment in a folder, without the variables of this project."""

    folder: Path

    def program(self, name: str) -> str:
        """Return the path of one of its programs."""
        return str(self.folder / "bin" / name)

    def variables(self) -> dict[str, str]:
        """Return the environment variables of its programs."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TWINS_", "PYTHON"))}
        return {**kept, "HF_HOME": str(self.folder / "cache")}

    def run(self, *command: str) -> str:
        """Return the output of one of its programs. Raises subprocess.CalledProcessError."""
        ran = subprocess.run(  # noqa: S603, our own programs
            [self.program(command[0]), *command[1:]],
            cwd=self.folder,
            env=self.variables(),
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        )
        return ran.stdout


def new_environment(folder: Path) -> Environment:
    """Create a virtual environment with the interpreter of this program."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)  # noqa: S603, our own interpreter
    return Environment(folder.resolve())


def install(environment: Environment, wheel: Path, *flags: str, extras: str = "") -> None:
    """Install a wheel by pip."""
    environment.run("pip", "install", "--quiet", "--disable-pip-version-check", *flags, f"{wheel.resolve()}{extras}")


@contextmanager
def serving(environment: Environment) -> Iterator[dict[str, str]]:
    """Run `twins serve` of an environment on free ports. Yield its addresses. Raise RuntimeError if it ends badly."""
    flags = ("--http-port", "0", "--grpc-port", "0", "--frontends", "1", "--drain-delay-s", "0", "--log-format", "json")
    log = environment.folder / "serve.log"
    with log.open("wb") as written:
        process = subprocess.Popen(  # noqa: S603, our own program
            [environment.program("twins"), "serve", *flags],
            cwd=environment.folder,
            env=environment.variables(),
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        yield addresses(process, log)
        process.send_signal(signal.SIGTERM)
        if code := process.wait(END_S):
            raise RuntimeError(f"twins serve ended with {code}:\n{log.read_text()}")
    finally:
        process.kill()
        process.wait()


def addresses(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    """Return the addresses of a service once it is ready. Raise RuntimeError if it does not become ready."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        lines = [line for line in log.read_text("utf-8").splitlines() if line.startswith("{") and line.endswith("}")]
        ready = [event for event in map(json.loads, lines) if event["event"] == "ready"]
        if ready:
            return {name: ready[0][name] for name in ("http", "grpc")}
        time.sleep(0.1)
    raise RuntimeError(f"twins serve did not become ready:\n{log.read_text('utf-8')}")


def asked_by_curl(http: str) -> str:
    """Return the label of an image, as curl gets it."""
    command = ("curl", "--silent", "--show-error", "--fail", "--form", f"image=@{IMAGE}", f"{http}/classify")
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603, our own address
    label = json.loads(answer)["predictions"][0]["label"]
    assert isinstance(label, str)
    return label


def check(service: Environment, client: Environment, version: str) -> None:
    """Ask the installed service by curl and by the installed client. Raise RuntimeError for a wrong answer."""
    if (said := service.run("twins", "version").strip()) != version:
        raise RuntimeError(f"the installed service says that it is version {said}, not {version}")
    with serving(service) as where:
        answers = {
            "curl": asked_by_curl(where["http"]),
            "the client": client.run("python", "-c", ASK, where["http"], where["grpc"], str(IMAGE)).strip(),
        }
    if answers != {"curl": "cat", "the client": "cat cat True"}:
        raise RuntimeError(f"the installed service has other answers than expected: {answers}")


def try_out(folder: Path, service: Path, client: Path, version: str) -> None:
    """Install both wheels with the pinned versions into new environments, and check them."""
    pinned = ("--constraint", str(ROOT / "constraints.txt"))
    environments = new_environment(folder / "service"), new_environment(folder / "client")
    install(environments[0], service, *pinned)
    install(environments[1], client, extras="[grpc,progress]")
    check(*environments, version)
