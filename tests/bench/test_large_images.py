"""What the comparison of fast and exact decoding measures."""

import io

import pytest
from click.testing import CliRunner
from PIL import Image

from bench.models.large_images import Comparison, enlarged, main, target
from tests.crafted import image


@pytest.mark.parametrize("reduction", [2, 4])
def test_an_enlarged_image_is_reduced_exactly_as_far_as_it_is_asked_for(reduction):
    smallest = (80, 60)
    opened = Image.open(io.BytesIO(enlarged(image(size=(40, 30)), smallest, reduction)))
    whole = opened.size
    opened.draft(None, smallest)
    assert round(whole[0] / opened.width) == reduction


@pytest.mark.parametrize(("agreement", "met"), [(0.996, True), (0.994, False)])
def test_a_share_of_equal_answers_meets_the_target_or_misses_it(agreement, met):
    assert target(Comparison("m", 2, images=1, agreement=agreement)).met is met


def test_nothing_is_measured_without_an_archive(monkeypatch):
    monkeypatch.delenv("BENCH_IMAGES", raising=False)
    assert "skipped" in CliRunner().invoke(main, []).output
