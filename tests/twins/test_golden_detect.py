"""Detections of mmdetection, from weights and images that can be generated again."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from tests import detection
from tests.golden import cases
from twins.images import decode
from twins.runtime.choice import open_backend
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchModel
from twins.tasks.detect import DETECT, DetectOptions
from twins.tasks.detection import DetectionResult
from twins.tasks.sample import Sample
from twins.zoo.models import ModelReference


@pytest.fixture(scope="module", params=cases.named("mmdet"))
def given(request, tmp_path_factory) -> Iterator[tuple[cases.Case, TorchModel]]:
    case = cases.read(request.param)
    path = detection.golden(case, tmp_path_factory.mktemp("golden"))
    yield case, open_backend(Plan(backend="torch")).load(ModelReference(case.facts["model"], path))
    path.unlink()


def sample(case: cases.Case, model: TorchModel) -> tuple[str, Sample]:
    ((name, data),) = case.images().items()
    image = decode.decode(data, decode.Limits(), exif_orientation=model.card.exif_orientation)
    return name, DETECT.preprocess(image, model.card, DetectOptions())


@pytest.fixture(scope="module")
def result(given) -> tuple[str, DetectionResult]:
    case, model = given
    name, prepared = sample(case, model)
    return name, DETECT.postprocess(model.run([prepared])[0], model.card, DetectOptions())


@pytest.fixture(scope="module")
def levels(given) -> tuple[str, Sequence[torch.Tensor]]:
    """Return the pyramid of the image, computed once for all tests."""
    case, model = given
    name, prepared = sample(case, model)
    with torch.inference_mode():
        return name, model.network.pyramid(model.normalise(torch.from_numpy(prepared.pixels[None])))


def test_the_pyramid_equals_that_of_the_reference(given, levels):
    case, (name, maps) = given[0], levels
    for number, level in enumerate(maps):
        case.assert_close(f"fpn{number}-{name}", level)


def test_the_head_of_retinanet_equals_that_of_the_reference(given, levels):
    (case, model), (name, maps) = given, levels
    if "retinanet" not in case.name:
        pytest.skip("the case has no outputs of the head")
    with torch.inference_mode():
        for number, level in enumerate(maps):
            for kind, output in zip(("cls", "reg"), model.network.bbox_head(level), strict=True):
                case.assert_close(f"{kind}{number}-{name}", output)


def test_every_detection_of_the_reference_is_found(given, result):
    case, (name, found) = given[0], result
    expected = {key: case.expected[f"{key}-{name}"] for key in ("boxes", "scores", "labels")}
    rows = found.array
    ours = {"boxes": rows[:, :4], "scores": rows[:, 4], "labels": rows[:, 5].astype(int)}
    assert len(rows) == len(expected["scores"])
    assert (detection.partners(expected, ours) >= 0).all()
    assert np.allclose(rows[:, 4], np.sort(expected["scores"])[::-1], atol=detection.SAME_SCORE)


def test_the_masks_are_those_of_the_reference(given, result):
    case, (name, found) = given[0], result
    if "maskrcnn" not in case.name:
        pytest.skip("RetinaNet has no masks")
    expected = {key: case.expected[f"{key}-{name}"] for key in ("boxes", "scores", "labels")}
    rows = found.array
    ours = {"boxes": rows[:, :4], "scores": rows[:, 4], "labels": rows[:, 5].astype(int)}
    packed = case.expected[f"masks-{name}"]
    for wanted, index in zip(packed, detection.partners(expected, ours), strict=True):
        mask = found.detections[index].mask(found.size)
        whole = np.zeros(found.size, bool)
        whole[mask.top :, mask.left :][: mask.pixels.shape[0], : mask.pixels.shape[1]] = mask.pixels
        reference = np.unpackbits(wanted, axis=1, count=found.size[1]).astype(bool)
        assert (whole == reference).mean() >= detection.SAME_PIXELS
