"""A real systemd for a test: process 1 of its own namespaces, with the unit that is in `deploy/systemd`.

It sees a copy of this machine's files, and no network but its own loopback interface. Nothing outside changes.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.programs import REQUIRED
from tests.server import TIMEOUT_S, wait_until
from tools.documents import ROOT

SYSTEMD = Path("/lib/systemd/systemd")
BOOT = Path(__file__).with_name("boot.sh")
UNITS = ROOT / "deploy" / "systemd"
PROGRAM = f"""#!{sys.executable}
from service.cli import main
main()
"""
FOR_TESTS = f"""
[Service]
Environment=PYTHONPATH={ROOT}
Environment=TWINS_FRONTENDS=1
ProtectHome=tmpfs
BindReadOnlyPaths={Path(sys.base_prefix).resolve()} {Path(sys.prefix).resolve()} {ROOT}
"""
"""Python and the service are not in /opt/twins here, but perhaps in a home."""


class Machine:
    """A running systemd. `drop_ins` are further files of the unit by name; `files` are those of /etc/twins."""

    def __init__(self, folder: Path, drop_ins: dict[str, str], files: dict[str, bytes]) -> None:
        self.cgroup = cgroup2() / f"twins-test-{os.getpid()}"
        self.cgroup.mkdir()
        shown = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT}
        self.log = (folder / "systemd.log").open("wb")
        self.process = subprocess.Popen(
            [
                *("unshare", "--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--uts", "--ipc", "--net"),
                *("bash", str(BOOT), *map(str, sorted(shown))),
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            preexec_fn=self.join,
        )
        try:
            self.pid = wait_until(self.first_process, timeout_s=10, what="process 1")
            wait_until(self.running, timeout_s=20, what="systemd")
            self.install(drop_ins, files)
        except BaseException:
            self.__exit__()
            raise

    def join(self) -> None:
        """Move this process to the machine's group, before it makes the namespaces."""
        (self.cgroup / "cgroup.procs").write_text("0")

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT_S)
        self.log.close()
        wait_until(self.remove_groups, what="the end of all processes")

    def remove_groups(self) -> bool:
        """Return whether the groups are removed, which they are when their processes have ended."""
        try:
            for group in sorted((path for path in self.cgroup.rglob("*") if path.is_dir()), reverse=True):
                group.rmdir()
            self.cgroup.rmdir()
        except OSError:
            return False
        return True

    def first_process(self) -> int:
        """Return the id of systemd's process, as seen from here; 0 if there is none yet."""
        assert self.process.poll() is None, Path(self.log.name).read_text()
        children = psutil.Process(self.process.pid).children()
        return next((child.pid for child in children if child.name() == "systemd"), 0)

    def running(self) -> bool:
        """Return whether systemd has started what it should."""
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def install(self, drop_ins: dict[str, str], files: dict[str, bytes]) -> None:
        """Install the unit, with its drop-in files, the program, and the files in /etc/twins."""
        root = Path(f"/proc/{self.pid}/root")
        for home in ("root", "home"):
            (root / home).chmod(0o755)
        program = root / "opt/twins/bin/twins"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        for name, content in files.items():
            (root / "etc/twins" / name).write_bytes(content)
            (root / "etc/twins" / name).chmod(0o600)
        shutil.copy(UNITS / "twins.service", root / "etc/systemd/system")
        folder = root / "etc/systemd/system/twins.service.d"
        folder.mkdir()
        for name, text in {**drop_ins, "tests.conf": FOR_TESTS}.items():
            (folder / name).write_text(text)
        self.run("systemctl", "daemon-reload")

    def run(self, *command: str, check: bool = True, text: bytes | None = None) -> subprocess.CompletedProcess:
        """Run a command inside, as root."""
        entered = ("nsenter", "--target", str(self.pid), "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net")
        ran = subprocess.run(
            [*entered, "--root", "--wd", *command], input=text, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        found = subprocess.CompletedProcess(command, ran.returncode, ran.stdout.decode(), ran.stderr.decode())
        assert not check or found.returncode == 0, f"{command}: {found.stdout}{found.stderr}"
        return found

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        return self.run("systemctl", "show", "twins", "--value", "--property", name).stdout.strip()


def cgroup2() -> Path:
    """Return where the unified hierarchy of control groups is mounted."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next(Path(path) for _, path, kind, *_ in mounts if kind == "cgroup2")


def start(folder: Path, drop_ins: dict[str, str], files: dict[str, bytes]) -> Machine:
    """Return a machine. Skip the test where none can be started: it needs root, namespaces and Debian's systemd."""
    try:
        assert SYSTEMD.exists()
        return Machine(folder, drop_ins, files)
    except (AssertionError, OSError, StopIteration) as error:
        reason = f"systemd cannot run here: {error}"
        pytest.fail(reason) if os.environ.get(REQUIRED) else pytest.skip(reason)
