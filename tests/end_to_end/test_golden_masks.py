"""The masks of the reference implementations, through the whole service and the command line."""

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from service.cli.main import twins
from tests import segmentation
from tests.golden import cases, names, seeded
from tests.server import Server

NAMES = [*cases.named("mmseg"), *cases.named("authors-seg")]
SAME_PIXELS = 0.999
GROWTH_BYTES = 256 * 2**20
"""Of the worker while it computes the mask of the image below; see docs/decisions/009-resize-twice-in-strips.md."""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Return the checkpoint of every case."""
    folder = tmp_path_factory.mktemp("golden")
    return {name: segmentation.golden(cases.read(name), folder) for name in NAMES}


def images(case: cases.Case) -> dict[str, bytes]:
    """Return the images of a case by the name of the expected mask."""
    return {f"mask-{size}": data for size, data in case.images().items()}


def same_pixels(case: cases.Case, name: str, found: np.ndarray) -> float:
    """Return the fraction of pixels in which both masks agree."""
    assert found.shape == case.expected[name].shape
    return (found == case.expected[name]).mean()


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_writes_the_masks_of_the_reference(name, files, tmp_path):
    case = cases.read(name)
    for mask, data in images(case).items():
        (tmp_path / f"{mask}.png").write_bytes(data)
    model = f"{segmentation.model_name(case.facts)}={files[name]}"
    ran = CliRunner().invoke(twins, ["segment", str(tmp_path), "--output", str(tmp_path / "out"), "--model", model])
    assert ran.exit_code == 0, ran.output
    for mask in images(case):
        assert same_pixels(case, mask, np.asarray(Image.open(tmp_path / "out" / f"{mask}.png"))) >= SAME_PIXELS


def test_rest_returns_the_masks_of_the_reference(files):
    served = {segmentation.model_name(cases.read(name).facts): name for name in NAMES if "fpn" in name}
    flags = [flag for model, name in served.items() for flag in ("--model", f"{model}={files[name]}")]
    with Server(*flags, "--max-batch", "1") as server:
        for model, name in served.items():
            case = cases.read(name)
            for mask, data in images(case).items():
                response = httpx.post(
                    f"{server.http}/segment",
                    content=data,
                    params={"model": model},
                    headers={"Accept": "image/png"},
                    timeout=60,
                )
                found = np.asarray(Image.open(io.BytesIO(response.content)))
                assert same_pixels(case, mask, found) >= SAME_PIXELS


def test_an_image_of_twelve_megapixels_takes_a_bounded_memory(tmp_path):
    state = names.cheap_state(names.mmseg("svt_small", "upernet"))
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "weights.pth")
    file = io.BytesIO()
    Image.fromarray(seeded.image("large", 300, 400)).resize((4000, 3000)).save(file, "jpeg")
    model = f"twins_svt_small_upernet_ade20k={tmp_path / 'weights.pth'}"
    flags = ("--model", model, "--max-batch", "1", "--request-timeout-s", "120")
    with Server(*flags) as server:
        worker = server.pid("worker-0")
        Path(f"/proc/{worker}/clear_refs").write_text("5")  # sets the peak back
        ready = peak_bytes(worker)
        response = httpx.post(
            f"{server.http}/segment",
            content=file.getvalue(),
            params={"format": "npy", "threshold": "0.01"},
            timeout=150,
        )
        assert np.load(io.BytesIO(response.content)).shape == (3000, 4000)
        assert peak_bytes(worker) - ready < GROWTH_BYTES


def peak_bytes(pid: int) -> int:
    """Return the peak resident memory of a process since it was reset."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
