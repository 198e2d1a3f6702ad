"""Outputs of the reference implementations, from weights and inputs that can be generated again."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests import forward
from tests.golden import cases, seeded
from twins.card import Normalisation
from twins.images.input_image import InputImage
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchModel
from twins.tasks.classify import CLASSIFY, ClassifyOptions
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

MMPRETRAIN_NAMES = {"twins-pcpvt-small": "twins_pcpvt_small", "twins-svt-small": "twins_svt_small"}


def model_name(facts: dict) -> str:
    return facts.get("variant") or MMPRETRAIN_NAMES[facts["config"].partition("_")[0]]


@pytest.mark.parametrize("backend", forward.PARAMETERS)
@pytest.mark.parametrize("name", [*cases.named("timm"), *cases.named("mmpretrain")])
def test_logits_equal_those_of_the_reference(name, backend, tmp_path):
    case = cases.read(name)
    torch.save({"state_dict": case.state()}, tmp_path / "weights.pth")
    model = forward.load(backend, ModelReference(model_name(case.facts), tmp_path / "weights.pth"))
    for given in case.facts["inputs"]:
        shape = (given["count"], given["height"], given["width"])
        logits = forward.logits(model, seeded.batch(given["name"], *shape))
        case.assert_close("logits-" + "x".join(map(str, shape)), logits)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    case = cases.read("pipeline-twins_svt_small")
    path = tmp_path_factory.mktemp("pipeline") / "weights.pth"
    torch.save(case.state(), path)
    return case, TorchModel(load(ModelReference("twins_svt_small", path)), Plan())


@pytest.mark.parametrize("size", ["300x400", "900x600", "120x100"])
def test_preprocessing_and_scores_equal_those_of_timm(pipeline, size):
    case, runner = pipeline
    given = next(p for p in case.facts["pictures"] if p["name"].endswith(size))
    pixels = seeded.image(given["name"], given["height"], given["width"])
    sample = CLASSIFY.preprocess(InputImage.whole(Image.fromarray(pixels)), runner.card, ClassifyOptions())

    scale = Normalisation()
    reference = case.expected[f"input-{size}.value"]
    found = (
        runner.normalise(torch.from_numpy(sample.pixels[None])).flatten().numpy()[case.expected[f"input-{size}.index"]]
    )
    channel = np.unravel_index(case.expected[f"input-{size}.index"], case.expected[f"input-{size}.shape"])[1]
    off_by = np.abs(found - reference) * np.array(scale.std)[channel]
    assert off_by.max() <= 1 / 255 + 1e-6

    best = CLASSIFY.postprocess(runner.run([sample])[0], runner.card, ClassifyOptions(top_k=5))
    assert [p.class_id for p in best.predictions] == case.expected[f"top5-{size}.index"].tolist()
    assert np.allclose([p.score for p in best.predictions], case.expected[f"top5-{size}.score"], atol=1e-3)
