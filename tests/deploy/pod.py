"""Run the container of a rendered pod as processes of this machine, with the restrictions of the manifest.

The file system is private and read-only, only the volumes can be written, and the user is that of the manifest, without
capabilities. This checkout and its environment stand for the image. It needs root.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.prometheus import free_port
from tests.server import TIMEOUT_S, wait_until
from tools.documents import ROOT

FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/dev")
OURS = tuple(str(Path(path).resolve()) for path in (sys.base_prefix, sys.prefix, ROOT))
PREPARE = """
set -eu
root=$1 user=$2 group=$3 volumes=$4
shift 4
mount -t tmpfs -o mode=755 tmpfs "$root"
for folder in $FOLDERS; do
    if [ -L "$folder" ]; then cp -P "$folder" "$root$folder"; continue; fi
    [ -d "$folder" ] || continue
    mkdir -p "$root$folder"
    mount --rbind "$folder" "$root$folder"
    case $folder in /proc|/dev) ;; *) mount -o remount,bind,ro "$root$folder" ;; esac
done
for volume in $volumes; do
    mkdir -p "$root$volume"
    mount -t tmpfs -o "mode=2770,uid=0,gid=$group" tmpfs "$root$volume"
done
mount -o remount,bind,ro "$root"
cd "$root"
exec chroot "$root" setpriv --reuid "$user" --regid "$group" --groups "$group" \\
    --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


class RunningPod:
    """The processes of a pod, and its probes as a node asks them."""

    def __init__(self, folder: Path, pod: dict[str, Any]) -> None:
        (self.container,) = pod["containers"]
        self.grace_s = pod["terminationGracePeriodSeconds"]
        self.port = free_port()
        self.log = (folder / "pod.log").open("w+b")
        root = folder / "root"
        root.mkdir()
        context = pod["securityContext"]
        volumes = " ".join(each["mountPath"] for each in self.container["volumeMounts"])
        identity = (str(root), str(context["runAsUser"]), str(context["fsGroup"]), volumes)
        command = (sys.executable, "-m", "service.cli", *self.container["args"])
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", PREPARE, "sh", *identity, *command],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=self.environment(),
        )

    def environment(self) -> dict[str, str]:
        """Return the variables of the image and of the manifest. The ports are free ones of the loopback interface."""
        ports = {"TWINS_HOST": "127.0.0.1", "TWINS_HTTP_PORT": str(self.port), "TWINS_GRPC_PORT": "0"}
        image = {"HF_HOME": "/weights", "TWINS_LOG_FORMAT": "json", "PYTHONDONTWRITEBYTECODE": "1"}
        ours = {"FOLDERS": " ".join((*FOLDERS, *OURS)), "PYTHONPATH": str(ROOT), "HOME": "/tmp"}
        given = {each["name"]: each["value"] for each in self.container["env"] if "value" in each}
        return {"PATH": os.environ["PATH"], **image, **ours, **ports, **given}

    def __enter__(self) -> "RunningPod":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(TIMEOUT_S)
        self.log.close()

    def said(self) -> str:
        """Return the log so far."""
        return Path(self.log.name).read_text()

    def passes(self, probe: str) -> bool:
        """Return whether a probe succeeds now, as often as a node asks it."""
        found = self.container[probe]
        try:
            url = f"http://127.0.0.1:{self.port}{found['httpGet']['path']}"
            return 200 <= httpx.get(url, timeout=found["timeoutSeconds"]).status_code < 400
        except httpx.HTTPError:
            return False

    def wait_for(self, probe: str) -> None:
        """Wait until a probe succeeds. Raise AssertionError if the pod has ended."""

        def passed() -> bool:
            assert self.process.poll() is None, self.said()
            return self.passes(probe)

        wait_until(passed, what=f"{probe}: {self.said()}")

    def terminate(self) -> None:
        """Tell the pod to stop, as a node does."""
        self.process.send_signal(signal.SIGTERM)

    def status(self) -> dict[str, str]:
        """Return what the kernel knows of the first process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
