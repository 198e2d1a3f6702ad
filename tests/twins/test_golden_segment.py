"""Segmentations of the reference implementations, from weights and images that can be generated again."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from tests import forward, segmentation
from tests.golden import cases, seeded
from twins.images import decode
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


def test_logits_equal_those_of_the_reference(given):
    case, runner = given
    for entry in case.facts["inputs"]:
        shape = (entry["count"], entry["height"], entry["width"])
        logits = forward.logits(runner, seeded.batch(entry["name"], *shape))
        case.assert_close(f"logits-{'x'.join(map(str, shape))}", logits)


def test_stages_equal_those_of_the_reference(given):
    case, runner = given
    if not isinstance(runner, TorchModel):
        pytest.skip("only PyTorch shows the maps inside a network")
    for entry in case.facts["inputs"]:
        shape = (entry["count"], entry["height"], entry["width"])
        name = "x".join(map(str, shape))
        maps: list[tuple[torch.Tensor, ...]] = []
        hook = runner.network.neck.register_forward_pre_hook(lambda _, inputs, maps=maps: maps.append(inputs[0]))
        with torch.inference_mode():
            runner.network(torch.from_numpy(seeded.batch(entry["name"], *shape)))
        hook.remove()
        for stage, found in enumerate(maps[0]):
            case.assert_close(f"stage{stage}-{name}", found)


def test_masks_equal_those_of_the_reference(given):
    case, runner = given
    for entry in case.facts["pictures"]:
        buffer = io.BytesIO()
        Image.fromarray(seeded.image(entry["name"], entry["height"], entry["width"])).save(buffer, "png")
        image = decode.decode(buffer.getvalue(), decode.Limits(), exif_orientation=runner.card.exif_orientation)
        output = runner.run([SEGMENT.preprocess(image, runner.card, SegmentOptions())])[0]
        found = SEGMENT.postprocess(output, runner.card, SegmentOptions())
        expected = case.expected[f"mask-{entry['height']}x{entry['width']}"]
        assert found.mask.dtype == np.uint8
        assert (found.mask == expected).mean() >= SAME_PIXELS
