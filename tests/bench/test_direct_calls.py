"""The commands of bench/ that call models directly."""

import pytest

from bench.pictures import CAT, HEIGHT, LONG_SIDE, MASK, OBJECTS, PANEL, classified, overlaid, side_by_side
from bench.service.request import BATCHES, DirectCalls


def test_the_work_of_a_request_is_called_directly():
    found = DirectCalls("twins_svt_nano").measure(0.05)
    assert found.prepare_cpu > 0
    assert set(found.forward_cpu) == set(BATCHES)


@pytest.mark.parametrize("kind", [MASK, OBJECTS], ids=["segment", "detect"])
def test_the_images_of_the_documents_can_be_made_again(kind):
    (sheet,), (overlay,) = classified([CAT]), overlaid([CAT], kind)
    assert overlay.width == LONG_SIDE
    assert sheet.size == (LONG_SIDE + PANEL, overlay.height)
    both = side_by_side([sheet, overlay])
    assert both.height == HEIGHT
    assert both.width > overlay.width
