"""Fixtures of the container tests: one engine, one build and two stacks."""

import tempfile
from pathlib import Path

import pytest

from tests import detection, segmentation
from tests.container import images
from tests.container.engine import Engine
from tests.container.stack import Stack

OWN = "city"  # a model that is not in the image
DETECTOR = "street"  # likewise


@pytest.fixture(scope="session")
def engine():
    """Start an engine that has the images."""
    folder = Path(tempfile.mkdtemp(prefix="twins-engine-"))  # a short path, since the length of socket names is limited
    with Engine(folder) as running:
        images.build(running)
        yield running


@pytest.fixture(scope="session")
def stack(engine):
    """Start the stack with the default settings."""
    with Stack(engine, "plain") as running:
        yield running


@pytest.fixture(scope="session")
def own_stack(engine, tmp_path_factory):
    """Start a stack with a model that ships and two models from files on the host."""
    folder = tmp_path_factory.mktemp("checkpoints")
    folder.chmod(0o755)
    files = {OWN: segmentation.tiny(folder), DETECTOR: detection.tiny(folder)}
    models = ",".join(["twins_svt_nano", *(f"{name}=/checkpoints/{file.name}" for name, file in files.items())])
    with Stack(engine, "own", TWINS_MODELS=models, CHECKPOINTS=str(folder)) as running:
        yield running
