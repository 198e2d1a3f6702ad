"""Files through a pool of this process, over a backend without a library: batches, order and errors."""

import click
import numpy as np
import pytest
from PIL import Image

from service.cli import images
from service.cli.images import open_model, run
from tests.backends import FakeBackend, FakeModel
from twins.runtime.plan import Plan
from twins.tasks.classify import CLASSIFY, ClassifyOptions
from twins.tasks.segment import SEGMENT


@pytest.fixture
def model(monkeypatch):
    made = FakeModel("twins_svt_nano")
    monkeypatch.setattr(images, "open_backend", lambda _: FakeBackend(made))
    return made


@pytest.fixture
def files(tmp_path):
    """Seven images, each of one shade."""
    paths = [tmp_path / f"{shade}.png" for shade in range(7)]
    for shade, path in enumerate(paths):
        Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(path)
    return paths


def ran(files, *, batch):
    with open_model("twins_svt_nano", None, Plan(), batch=batch) as local:
        return list(run(files, local, CLASSIFY, ClassifyOptions()))


def test_files_run_in_batches_of_the_given_size(model, files):
    ran(files, batch=3)
    assert model.tried == [3, 3, 1]


def test_results_come_in_the_order_of_the_files(model, files):
    assert [one.output.arrays[0].item() for one in ran(files, batch=3)] == list(range(7))


def test_an_image_that_the_device_has_no_memory_for_has_its_own_error(model, files):
    model.too_large = 2
    results = ran(files, batch=4)
    assert "no memory" in results.pop(2).error
    assert [one.output.arrays[0].item() for one in results] == [0, 1, 3, 4, 5, 6]


def test_a_file_that_is_no_image_has_its_own_error(model, files):
    files[1].write_bytes(b"no image")
    results = ran(files, batch=4)
    assert results.pop(1).error
    assert all(one.output for one in results)


def test_the_log_of_a_command_stays_off_its_standard_output(model, files, capsys):
    model.fault = RuntimeError("broken")
    ran(files, batch=4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "broken" in captured.err


def test_a_model_of_another_task_is_a_usage_error(model):
    with (
        pytest.raises(click.UsageError, match="cannot segment"),
        open_model("twins_svt_nano", None, Plan(), batch=1, task=SEGMENT),
    ):
        pass
