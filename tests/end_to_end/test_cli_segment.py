"""`twins segment` with output for people and for programs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.cli.files import SUFFIXES, name_files
from service.cli.segment import FORMATS
from tests import segmentation
from tests.end_to_end.test_cli import CAT, SOME_FAILED, USAGE, call, lines, printed, refused
from tests.golden import seeded


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return f"tiny={segmentation.tiny(tmp_path_factory.mktemp('weights'))}"


def mask(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def write_image(path: Path, height: int, width: int) -> Path:
    """Write an image of this size."""
    Image.fromarray(seeded.image(path.stem, height, width)).save(path)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_under_the_images_name(model, tmp_path, name):
    printed("segment", CAT, "--output", tmp_path, "--model", model, "--format", name)
    assert (tmp_path / f"cat{SUFFIXES[FORMATS[name].media_types[0]]}").stat().st_size > 100


def test_the_legend_names_the_classes_and_their_shares(model, tmp_path):
    shown = printed("segment", CAT, "--output", tmp_path, "--model", model)
    assert "class 0" in shown
    assert "73." in shown


def test_the_output_for_programs_has_one_line_per_image(model, tmp_path):
    (line,) = lines("segment", CAT, "--output", tmp_path, "--model", model, "--json", "--confidence")
    assert (line["output"], line["size"]) == (str(tmp_path / "cat.png"), [300, 451])
    assert sum(each["pixels"] for each in line["classes"]) == 300 * 451
    assert all(each["confidence"] > 0 for each in line["classes"])


def test_images_of_many_shapes_get_the_same_masks_as_alone(model, tmp_path):
    images = [write_image(tmp_path / f"{i}.png", 60 + 20 * (i % 3), 90) for i in range(6)]
    printed("segment", tmp_path, "--output", tmp_path / "together", "--model", model, "--batch", 4)
    for path in images:
        printed("segment", path, "--output", tmp_path / "alone", "--model", model)
        assert np.array_equal(mask(tmp_path / "together" / path.name), mask(tmp_path / "alone" / path.name))


def test_standard_input_is_segmented(model, tmp_path):
    printed("segment", "-", "--output", tmp_path, "--model", model, stdin=CAT.read_bytes())
    assert mask(tmp_path / "stdin.png").shape == (300, 451)


def test_masks_never_share_a_name_nor_overwrite_an_image(tmp_path):
    files = [tmp_path / "a" / "cat.jpg", tmp_path / "b" / "Cat.png", tmp_path / "out" / "dog.png"]
    named = name_files(files, tmp_path / "out", ".png")
    assert [path.name for path in named] == ["cat.png", "Cat-2.png", "dog-2.png"]


def test_the_model_that_ships_is_the_default(tmp_path):
    (line,) = lines("segment", CAT, "--output", tmp_path, "--json")
    assert "cat" in [each["label"] for each in line["classes"]]


def test_a_bad_image_leaves_its_neighbours_their_masks(model, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    shutil.copy(CAT, tmp_path)
    done = call("segment", tmp_path, "--output", tmp_path / "out", "--model", model, "--json")
    bad, good = map(json.loads, done.stdout.splitlines())
    assert done.returncode == SOME_FAILED
    assert bad["error"]
    assert Path(good["output"]).is_file()


REFUSALS = {
    "another task's model": (["--model", "twins_svt_nano"], "it cannot segment"),
    "a threshold out of range": (["--model", "MODEL", "--threshold", "2"], "--threshold"),
    "an unknown class": (["--model", "MODEL", "--classes", "dragon"], "no class 'dragon'"),
    "an unknown format": (["--model", "MODEL", "--format", "gif"], "--format"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_impossible_options_are_wrong_usage(model, tmp_path, case):
    flags, hint = REFUSALS[case]
    flags = [model if flag == "MODEL" else flag for flag in flags]
    assert hint in refused(USAGE, "segment", CAT, "--output", tmp_path, *flags)


def test_a_folder_that_cannot_be_created_is_wrong_usage(model, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file/masks" in refused(USAGE, "segment", CAT, "--output", tmp_path / "file" / "masks", "--model", model)


def test_an_output_that_is_a_file_is_wrong_usage(model, tmp_path):
    (tmp_path / "masks.png").write_text("")
    said = refused(USAGE, "segment", CAT, "--output", tmp_path / "masks.png", "--model", model)
    assert "this is a file; give a folder" in said
