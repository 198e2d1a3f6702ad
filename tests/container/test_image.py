"""The content of the image."""

import json
import re

import pytest

import twins
from service.setting_sources import load
from tests.container import images
from tools.documents import OPERATIONS, prose
from twins.zoo.models import ZOO
from twins.zoo.sources import Packaged

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

MB = 10**6
LARGEST = {  # of the dependencies
    "PyTorch": "torch torchgen functorch",
    "OpenCV": "cv2 opencv_python_headless.libs",
    "OpenVINO": "openvino",
    "SymPy and NetworkX, for PyTorch": "sympy networkx",
    "NumPy": "numpy numpy.libs",
}

LISTED = """
import json, pathlib
folders = ["/root/.cache", "/tmp", "/source", "/own", "/var/lib/apt/lists", "/var/cache", "/var/log", "/weights"]
files = [path for folder in folders for path in pathlib.Path(folder).rglob("*") if path.is_file()]
print(json.dumps([str(path) for path in files if path.stat().st_size]))
"""


@pytest.fixture(scope="session")
def inside(engine):
    """Run a command as root in a new container without mounts."""
    return lambda *command: engine.docker(
        *("run", "--rm", "--user", "0", "--network", "none", "--entrypoint", command[0], images.SERVICE, *command[1:])
    )


@pytest.fixture(scope="session")
def config(engine) -> dict:
    """Return the configuration of the image."""
    return engine.inspect(images.SERVICE)["Config"]


def table() -> dict[str, int]:
    """Return the sizes that docs/operations.md states, in MB."""
    text = prose(OPERATIONS).partition("<!-- size -->")[2].partition("<!-- /size -->")[0]
    return {
        name: int(size.replace(",", "")) for name, size in re.findall(r"^\| (.*?) \| ([\d,]+) \|$", text, re.MULTILINE)
    }


def test_its_size_and_largest_parts_match_the_documents(engine, inside):
    sizes = engine.docker("history", "--human=false", "--format", "{{.Size}}", images.SERVICE).split()
    own, dependencies, system, base = (size for size in map(int, sizes) if size > MB)
    du = "cd /opt/twins/lib/python3*/site-packages && du --summarize --block-size 1 --total"
    found = {
        "the base: Debian 12, its smallest": base,
        "Python, certificates": system,
        "what the service depends on": dependencies,
        "the service, with the models that ship": own,
        "together": own + dependencies + system + base,
        **{f"– {name}": int(inside("sh", "-c", f"{du} {paths}").split()[-2]) for name, paths in LARGEST.items()},
    }
    assert found.keys() == table().keys()
    measured = {name: round(size / MB) for name, size in found.items()}
    assert measured == pytest.approx(table(), rel=0.1, abs=1), "the sizes in docs/operations.md are not these"


def test_the_labels_have_version_revision_and_base(config):
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels["version"] == twins.__version__
    assert labels["revision"] == "tested"
    assert labels["base.name"] == images.BASE
    assert labels["licenses"] == "Apache-2.0"


def test_its_bill_of_materials_lists_python_and_debian_packages(config, inside):
    listed = json.loads(inside("cat", config["Labels"]["org.cyclonedx.sbom"]))
    assert listed["metadata"]["component"]["version"] == twins.__version__
    assert {"torch", "numpy", "ca-certificates", "libc6"} <= {each["name"] for each in listed["components"]}


def test_it_does_not_run_as_root(config):
    assert config["User"] == "10001"


def test_it_has_a_health_check(config):
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-I", "-S", "/opt/twins/bin/ready.py"]


@pytest.mark.parametrize("tool", ["cc", "gcc", "c++", "g++", "clang", "ld", "make", "pip", "pip3", "git"])
def test_it_has_no_build_tools(inside, tool):
    assert inside("sh", "-c", f"command -v {tool} || echo none").strip() == "none"
    assert inside("python", "-c", "import importlib.util as u; print(u.find_spec('pip'))").strip() == "None"


def test_it_has_neither_caches_nor_logs_nor_sources(inside):
    assert json.loads(inside("python", "-c", LISTED)) == []


def test_its_modules_are_compiled_since_the_container_is_read_only(inside):
    script = "import service.processes.supervisor as s, pathlib; print(pathlib.Path(s.__cached__).is_file())"
    assert inside("python", "-c", script).strip() == "True"


def test_it_contains_the_models_that_ship(inside):
    shipped = [name for name, row in ZOO.items() if isinstance(row.source, Packaged)]
    assert set(load({}, environ={}).models) <= set(shipped)
    for name in shipped:
        assert inside("twins", "pull", name).strip().endswith(".safetensors")


def test_it_does_not_contain_tests(inside):
    assert inside("python", "-c", "import importlib.util as u; print(u.find_spec('tests'))").strip() == "None"
