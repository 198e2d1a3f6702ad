"""Segmentation at several scales equals the mean of whole tensors of scores."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from tests import segmentation
from tests.golden import seeded
from twins.evaluation import multi_scale
from twins.images.input_image import InputImage
from twins.preprocessing import Preprocessing
from twins.runtime.plan import Plan
from twins.runtime.reduce import masks
from twins.runtime.torch import TorchModel
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> TorchModel:
    path = segmentation.tiny(tmp_path_factory.mktemp("weights"))
    return TorchModel(load(ModelReference("tiny", path, preprocessing=Preprocessing(size=64))), Plan())


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return seeded.image("scales", HEIGHT, WIDTH)


@torch.inference_mode()
def mean_scores(model: TorchModel, pixels: np.ndarray) -> torch.Tensor:
    """Return the mean scores of all scales and mirrored images, K Y X."""
    total = 0
    for scale in (0.5, 0.75, 1, 1.25, 1.5, 1.75):
        short, long = int(64 * scale), int(256 * scale)
        factor = min(long / WIDTH, short / HEIGHT)
        size = (int(WIDTH * factor + 0.5), int(HEIGHT * factor + 0.5))
        resized = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        for flip in (False, True):
            given = np.ascontiguousarray(resized[:, ::-1] if flip else resized)
            logits = model.network(model.normalise(torch.from_numpy(given)[None]))
            logits = F.interpolate(logits, size=size[::-1], mode="bilinear", align_corners=False)
            logits = F.interpolate(logits, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)
            scores = logits.softmax(dim=1)[0]
            total = total + (scores.flip(-1) if flip else scores)
    return total / 12


@pytest.mark.parametrize("strip", [masks.STRIP_BYTES, 10_000])
def test_the_mask_is_that_of_the_mean_scores(monkeypatch, model, pixels, strip):
    monkeypatch.setattr(masks, "STRIP_BYTES", strip)
    mask = multi_scale.segment(model, InputImage.whole(Image.fromarray(pixels)))
    scores = mean_scores(model, pixels)
    assert mask.shape == (HEIGHT, WIDTH)
    chosen = scores.gather(0, torch.from_numpy(mask)[None].long())[0]
    assert (scores.max(dim=0).values - chosen).max() < 1e-5  # equal but for ties within rounding


def test_several_scales_are_not_one(model, pixels):
    with torch.inference_mode():
        logits = model.network(model.normalise(torch.from_numpy(cv2.resize(pixels, (96, 64)))[None]))
        one = F.interpolate(logits, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)[0].argmax(0).numpy()
    assert not np.array_equal(multi_scale.segment(model, InputImage.whole(Image.fromarray(pixels))), one)
