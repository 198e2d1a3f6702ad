"""A Docker engine for tests, with its own socket and data folder. It leaves nothing behind."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.server import wait_until
from tools.documents import ROOT

VENV = ROOT / ".venv"
COMPOSE = VENV / "linters" / "bin" / "docker-compose"
END_S = 30.0  # time for the engine to stop


class Engine:
    """A running engine. Needs root and Debian's docker.io."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "DOCKER_HOST": f"unix://{folder}/socket", "DOCKER_CONFIG": str(folder)}

    def __enter__(self) -> "Engine":
        dockerd, self.client = program("dockerd"), program("docker")
        self.log = (self.folder / "log").open("wb")
        command = [
            *(dockerd, "--host", self.environ["DOCKER_HOST"], "--pidfile", str(self.folder / "pid")),
            *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "run")),
            # the network of the machine stays unchanged; Compose creates its own bridges
            *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
        ]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            wait_until(self.answers, what="the Docker engine")
        except AssertionError:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if left := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", *left)
        self.docker("network", "prune", "--force")  # its bridges belong to the machine
        self.end()

    def end(self) -> None:
        """Stop the engine and remove its data."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_S)
        self.log.close()
        for mounted in self.folder.glob("run/netns/*"):
            subprocess.run(["umount", str(mounted)], check=False)
        shutil.rmtree(self.folder)

    def answers(self) -> bool:
        """Return whether the engine answers. Raise AssertionError if it has ended."""
        assert self.process.poll() is None, (self.folder / "log").read_text()
        asked = subprocess.run([self.client, "version"], env=self.environ, check=False, capture_output=True)
        return asked.returncode == 0

    def docker(self, *arguments: str, **environ: str) -> str:
        """Return the output of the Docker client. Raise AssertionError if it fails."""
        return run([self.client, *arguments], {**self.environ, **environ})

    def logs(self, name: str) -> str:
        """Return the log of a container."""
        command = [self.client, "logs", name]
        return subprocess.run(
            command, env=self.environ, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ).stdout

    def inspect(self, name: str) -> dict:
        """Return the description of a container or an image."""
        return json.loads(self.docker("inspect", name))[0]


def program(name: str) -> str:
    """Return the path of one of Debian's programs. Raise AssertionError if it is missing."""
    found = shutil.which(name, path="/usr/bin:/usr/sbin")
    assert found, f"no {name} here: install Debian's docker.io"
    return found


def compose(*arguments: str, files: tuple[str, ...] = (), environ: dict[str, str] | None = None) -> str:
    """Return the output of Compose. Raise AssertionError if it fails."""
    chosen = ["--env-file", os.devnull]  # ignores the .env file of a developer
    chosen += [part for file in files for part in ("--file", str(ROOT / file))]
    return run([str(COMPOSE), *chosen, *arguments], {**os.environ, **(environ or {})})


def run(command: list[str], environ: dict[str, str]) -> str:
    """Return the output of a command. Raise AssertionError if it fails."""
    ran = subprocess.run(command, env=environ, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout
