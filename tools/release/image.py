"""The images of a release. What is built, and under which name, is what Compose reads in the project's files."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from tools.documents import ROOT

COMPOSE = ROOT / ".venv" / "linters" / "bin" / "docker-compose"
FILES = {"gpu": ("docker-compose.yml",), "cpu": ("docker-compose.yml", "docker-compose.cpu.yml")}
"""The Compose files of each kind of host."""

LABEL = "org.opencontainers.image."


@dataclass(frozen=True)
class Image:
    """An image to build."""

    name: str  # with its tag, which is the version
    context: str
    dockerfile: str
    arguments: dict[str, str]

    def command(self, *flags: str) -> list[str]:
        """Return the arguments of Docker's client that build the image."""
        given = [part for name, value in self.arguments.items() for part in ("--build-arg", f"{name}={value}")]
        return [
            "build",
            "--tag",
            self.name,
            *given,
            *flags,
            "--file",
            f"{self.context}/{self.dockerfile}",
            self.context,
        ]


@dataclass(frozen=True)
class Built:
    """An image that was built."""

    name: str
    id: str  # the hash of its content
    bill: str  # its bill of materials


def described(host: str, environ: Mapping[str, str]) -> Image:
    """Return the image for a kind of host. `environ` may have the variables of `.env.example`."""
    files = [part for file in FILES[host] for part in ("--file", file)]
    command = [str(COMPOSE), "--env-file", os.devnull, *files, "config", "--format", "json"]
    read = output(command, {**os.environ, **environ})
    service = json.loads(read)["services"]["twins"]
    build = service["build"]
    arguments = {name: value for name, value in build["args"].items() if value}
    return Image(service["image"], build["context"], build["dockerfile"], arguments)


def output(command: list[str], environ: Mapping[str, str] | None = None) -> str:
    """Return the output of a program. Raises subprocess.CalledProcessError."""
    ran = subprocess.run(command, cwd=ROOT, env=environ, check=True, text=True, stdout=subprocess.PIPE)  # noqa: S603
    return ran.stdout


def engine() -> str | None:
    """Return the path of Docker's client if an engine answers it."""
    docker = shutil.which("docker")
    if not docker:
        return None
    asked = subprocess.run([docker, "version"], check=False, capture_output=True)  # noqa: S603, Docker's client
    return docker if asked.returncode == 0 else None


def build(docker: str, host: str, *, version: str, commit: str, flags: str = "") -> Built:
    """Build the image for a kind of host, and check its labels and the version that it prints.

    `flags` are further flags of `docker build`. Raise RuntimeError if the image is another one than expected.
    """
    image = described(host, {"REVISION": commit})
    environ = {**os.environ, "DOCKER_BUILDKIT": "1"}
    subprocess.run([docker, *image.command(*shlex.split(flags))], env=environ, check=True)  # noqa: S603, as above
    (facts,) = json.loads(output([docker, "image", "inspect", image.name]))
    labels = facts["Config"]["Labels"]
    found = {
        "label version": labels[f"{LABEL}version"],
        "label revision": labels[f"{LABEL}revision"],
        "twins version": run(docker, image.name, "twins", "version").strip(),
    }
    expected = {"label version": version, "label revision": commit, "twins version": version}
    if found != expected:
        raise RuntimeError(f"{image.name} has {found}, not {expected}")
    return Built(image.name, facts["Id"], run(docker, image.name, "cat", labels["org.cyclonedx.sbom"]))


def run(docker: str, name: str, program: str, *arguments: str) -> str:
    """Return the output of a program in an image, without a network."""
    return output([docker, "run", "--rm", "--network", "none", "--entrypoint", program, name, *arguments])
