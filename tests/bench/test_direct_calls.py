"""The commands of bench/ that call models directly."""

from bench.document_images import CAT, LONG_SIDE, classified, overlaid
from bench.service.request import BATCHES, DirectCalls


def test_the_work_of_a_request_is_called_directly():
    found = DirectCalls("twins_svt_nano").measure(0.05)
    assert found.prepare_cpu > 0
    assert set(found.forward_cpu) == set(BATCHES)


def test_the_images_of_the_documents_can_be_made_again():
    overlay = overlaid(CAT)
    assert max(overlay.size) == LONG_SIDE
    assert classified(CAT).height == overlay.height
