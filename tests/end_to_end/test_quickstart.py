"""Run examples/quickstart.ipynb against a real service."""

import base64
import io
import os

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from tools.documents import ROOT

FOLDER = ROOT / "examples"
NOTEBOOK = FOLDER / "quickstart.ipynb"
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def stored() -> nbformat.NotebookNode:
    """Return the notebook as it is in the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def ran(server) -> nbformat.NotebookNode:
    """Return the notebook with its outputs. Its kernel finds the client in this repository."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=TIMEOUT_S, resources={"metadata": {"path": str(FOLDER)}})
    return client.execute(env={**os.environ, "TWINS_URL": server.http, "PYTHONPATH": str(ROOT / "client")})


def printed(notebook: nbformat.NotebookNode, heading: str) -> str:
    """Return what the cells below a heading print."""
    return "".join(output.text for output in outputs(notebook, heading) if output.output_type == "stream")


def shown(notebook: nbformat.NotebookNode, heading: str) -> np.ndarray:
    """Return the last image that the cells below a heading show."""
    images = [
        output.data["image/png"] for output in outputs(notebook, heading) if "image/png" in output.get("data", {})
    ]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(images[-1]))))


def outputs(notebook: nbformat.NotebookNode, heading: str) -> list:
    """Return the outputs of the cells below a heading."""
    found, current = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            current = cell.source.splitlines()[0].lstrip("# ")
        elif current == heading:
            found += cell.outputs
    return found


def original(name: str) -> np.ndarray:
    """Return an image of the examples."""
    return np.asarray(Image.open(FOLDER / name).convert("RGB"))


def test_the_notebook_is_valid_and_stored_without_outputs(stored):
    nbformat.validate(stored)
    cells = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert not [cell.source for cell in cells if cell.outputs or cell.execution_count]


def test_it_classifies(ran):
    best, *others = printed(ran, "Classify").splitlines()
    assert best.split() == ["cat", "0.96"]
    assert len(others) == 2


def test_it_paints_the_mask_over_the_image(ran):
    assert printed(ran, "Segment").startswith("cat")
    painted, before = shown(ran, "Segment"), original("cat.jpg")
    assert painted.shape == before.shape
    assert 0.5 < (painted != before).any(2).mean() < 0.95  # the cat, and not the background


def test_it_draws_boxes_around_objects(ran):
    assert {"person", "car"} <= set(printed(ran, "Detect").split())
    drawn, before = shown(ran, "Detect"), original("lawn.jpg")
    assert drawn.shape == before.shape
    assert (drawn[(drawn != before).any(2)] == (255, 165, 0)).all(1).any()


def test_it_compares_two_images(ran):
    assert -1 < float(printed(ran, "Compare")) < 0.99
