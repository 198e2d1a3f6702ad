"""Reductions of one tensor: on a GPU none may wait for the device, since that would end the overlap of batches.

That of detections has to: how many boxes are kept depends on their scores.
"""

import numpy as np
import pytest
import torch

from twins.runtime.reduce import REDUCTIONS
from twins.tasks.classify import ClassifyParams
from twins.tasks.embed import EmbedParams
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams

PIXELS = np.zeros((64, 96, 3), np.uint8)

CASES = {
    "classify": (ClassifyParams(), (2, 1000)),
    "embed": (EmbedParams(), (2, 512)),
    "segment": (SegmentParams((100, 150)), (2, 150, 16, 24)),
    "segment with confidence": (SegmentParams((100, 150), confidence=True), (2, 150, 16, 24)),
}


def test_every_reduction_has_a_case():
    assert {name.split()[0] for name in CASES} == {name for name, each in REDUCTIONS.items() if each.one_tensor}


@pytest.mark.parametrize("name", CASES)
def test_a_reduction_never_reads_a_value_of_the_device(name):
    params, shape = CASES[name]
    logits = torch.empty(shape, dtype=torch.bfloat16, device="meta")  # has no values: reading one is an error
    with torch.inference_mode():
        reduced = REDUCTIONS[params.task].reduce(logits, [Sample(PIXELS, params)] * 2)
    assert {tensor.device.type for tensors in reduced for tensor in tensors} == {"meta"}
