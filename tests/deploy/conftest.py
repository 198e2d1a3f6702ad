"""Two instances that all tests of proxies share. A test that ends one starts it again."""

import shutil

import pytest

from tests.deploy.proxies import Instance, started
from tools.documents import ROOT

WEIGHTS = ROOT / "twins" / "weights" / "twins_svt_nano.safetensors"


@pytest.fixture(scope="session")
def cat() -> bytes:
    return (ROOT / "examples" / "cat.jpg").read_bytes()


@pytest.fixture(scope="session")
def instances(tmp_path_factory):
    """Start two instances that serve version 2 of a model and can load version 1."""
    repository = tmp_path_factory.mktemp("repository")
    for version in ("1", "2"):
        (repository / "pets" / version).mkdir(parents=True)
        shutil.copy(WEIGHTS, repository / "pets" / version)
    flags = ("--model-repository", str(repository), "--allow-model-control", "--trusted-proxies", "127.0.0.1")
    found = [Instance(*flags, "--drain-delay-s", "2", "--log-level", "debug") for _ in range(2)]
    started(found)
    yield found
    for instance in found:
        instance.server.__exit__()


@pytest.fixture
def pair(instances):
    """Return two instances that are ready."""
    started(instances)
    return instances
