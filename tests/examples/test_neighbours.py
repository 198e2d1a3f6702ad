"""The search for similar images, by the embeddings of the model that ships."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

from examples import neighbours
from tools.documents import DOCS, ROOT

CAT = ROOT / "examples" / "cat.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("images")
    for name in ("rocket", "coins", "coffee"):
        shutil.copy(DOCS / "images" / "gallery" / f"{name}.jpg", made)
    with Image.open(CAT) as image:
        ImageOps.mirror(image).save(made / "mirrored.png")
    (made / "broken.jpg").write_bytes(b"no image")
    return made


def test_the_mirror_image_of_a_cat_is_nearest_to_it(folder, tmp_path):
    arguments = [str(folder), str(CAT), "--count", "2", "--output", str(tmp_path / "sheet.png")]
    done = CliRunner().invoke(neighbours.main, arguments, catch_exceptions=False)
    first, second = done.output.splitlines()
    assert first.endswith("mirrored.png")
    assert float(first.split()[0]) > float(second.split()[0])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * 168 + 16, 176)


def test_neighbours_are_ordered_by_the_cosine():
    index = neighbours.Index(["a", "b", "c"], np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32))
    found = index.nearest(np.array([0, 1], np.float32), 2)
    assert [each.path for each in found] == ["b", "c"]
