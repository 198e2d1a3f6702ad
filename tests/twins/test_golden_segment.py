"""Segmentations of the reference implementations, from weights and images that can be generated again."""

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from tests import forward, segmentation
from tests.golden import cases, seeded
from twins.images import decode
from twins.network.variants import DENSE_STAGES
from twins.runtime.backend import Model
from twins.runtime.torch import TorchModel
from twins.tasks.segment import SEGMENT, SegmentOptions
from twins.zoo.models import ModelReference

NAMES = [*cases.named("mmseg"), *cases.named("authors-seg")]
SAME_PIXELS = 0.999


@pytest.fixture(scope="module", params=NAMES)
def checkpoint(request, tmp_path_factory) -> Iterator[tuple[cases.Case, ModelReference]]:
    case = cases.read(request.param)
    path = segmentation.golden(case, tmp_path_factory.mktemp("golden"))
    yield case, ModelReference(segmentation.model_name(case.facts), path)
    path.unlink()


@pytest.fixture(scope="module", params=forward.PARAMETERS)
def given(request, checkpoint) -> tuple[cases.Case, Model]:
    case, reference = checkpoint
    return case, forward.load(request.param, reference)


@dataclass(frozen=True)
class Found:
    """What a network computes for one batch of the reference."""

    shape: str
    logits: torch.Tensor
    stages: Sequence[torch.Tensor]  # of PyTorch alone


@pytest.fixture(scope="module")
def found(given) -> list[Found]:
    """Return what the network computes for every batch, once for all tests."""
    case, runner = given
    results = []
    for entry in case.facts["inputs"]:
        shape = (entry["count"], entry["height"], entry["width"])
        maps: list[Sequence[torch.Tensor]] = []
        with ExitStack() as hooks:
            if isinstance(runner, TorchModel):
                hook = runner.network.neck.register_forward_pre_hook(lambda _, given, maps=maps: maps.append(given[0]))
                hooks.callback(hook.remove)
            logits = forward.logits(runner, seeded.batch(entry["name"], *shape))
        results.append(Found("x".join(map(str, shape)), logits, maps[0] if maps else ()))
    return results


def test_logits_equal_those_of_the_reference(given, found):
    case, _ = given
    for each in found:
        case.assert_close(f"logits-{each.shape}", each.logits)


def test_stages_equal_those_of_the_reference(given, found):
    case, runner = given
    if not isinstance(runner, TorchModel):
        pytest.skip("only PyTorch shows the maps inside a network")
    for each in found:
        assert len(each.stages) == DENSE_STAGES
        for stage, stage_map in enumerate(each.stages):
            case.assert_close(f"stage{stage}-{each.shape}", stage_map)


def test_masks_equal_those_of_the_reference(given):
    case, runner = given
    # `test_openvino.py` and `test_onnx.py` compare other backends with PyTorch for every size, by a small network
    most = None if isinstance(runner, TorchModel) else 1
    for entry in case.facts["pictures"][:most]:
        buffer = io.BytesIO()
        Image.fromarray(seeded.image(entry["name"], entry["height"], entry["width"])).save(buffer, "png")
        image = decode.decode(buffer.getvalue(), decode.Limits(), exif_orientation=runner.card.exif_orientation)
        output = runner.run([SEGMENT.preprocess(image, runner.card, SegmentOptions())])[0]
        found = SEGMENT.postprocess(output, runner.card, SegmentOptions())
        expected = case.expected[f"mask-{entry['height']}x{entry['width']}"]
        assert found.mask.dtype == np.uint8
        assert (found.mask == expected).mean() >= SAME_PIXELS
