"""The same on an NVIDIA GPU: graphs give the answers of plain kernels, and those of the processor."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.golden import cases, seeded
from tests.twins.runtime.cuda.test_model import samples
from twins.images.input_image import InputImage
from twins.runtime.choice import open_backend
from twins.runtime.cuda.graphs import REPEATS
from twins.runtime.cuda.model import StreamedModel
from twins.runtime.plan import Plan
from twins.tasks.classify import CLASSIFY, ClassifyOptions
from twins.tasks.segment import SegmentParams
from twins.zoo.models import DEFAULT_MODELS, ModelReference, parse_reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

SIZES = (1, 2, 4, 8)


def opened(reference: ModelReference, precision="float32", device="cuda"):
    """Load a model through the backend, and warm it up."""
    model = open_backend(Plan(device, precision, "torch")).load(reference)
    for size in SIZES if device == "cuda" else ():
        model.warm_up(size)
    return model


def by_class(outputs):
    return np.stack([output.arrays[1][np.argsort(output.arrays[0])] for output in outputs])


@pytest.mark.parametrize("precision", ["auto", "float32"])
@pytest.mark.parametrize("task", ["classify", "segment"])
def test_every_size_of_the_warm_up_has_a_graph(task, precision):
    model = opened(parse_reference(DEFAULT_MODELS[task]), precision)
    assert [recorded is not None for recorded in model.graphs.recorded.values()] == [True] * len(SIZES)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_graphs_give_the_answers_of_plain_kernels_and_of_the_processor(count):
    reference = parse_reference(DEFAULT_MODELS["classify"])
    model = opened(reference)
    plain = StreamedModel(model.model, model.streams, graphs=False)
    found = by_class(model.run(samples(count)))
    assert np.abs(found - by_class(plain.run(samples(count)))).max() < 1e-4
    assert np.abs(found - by_class(opened(reference, device="cpu").run(samples(count)))).max() < 5e-3


def test_many_batches_in_flight_keep_their_answers():
    model = opened(parse_reference(DEFAULT_MODELS["classify"]), "auto")
    given = [samples(1 + seed % 8, seed=seed) for seed in range(40)]
    alone = [by_class(model.run(each)) for each in given]
    in_flight = [model.submit(each) for each in given[:2]]
    for index, expected in enumerate(alone):
        assert np.abs(by_class(in_flight.pop(0).result()) - expected).max() < 1e-3
        if index + 2 < len(given):
            in_flight.append(model.submit(given[index + 2]))


def test_masks_are_those_of_the_processor_with_a_graph_and_without():
    reference = parse_reference(DEFAULT_MODELS["segment"])
    model, processor = opened(reference), opened(reference, device="cpu")
    given = samples(1, 128, 192, SegmentParams((300, 450)))
    expected = processor.run(given)[0].arrays[0]
    for _ in range(REPEATS + 1):
        assert (model.run(given)[0].arrays[0] == expected).mean() > 0.995


@pytest.mark.parametrize("size", ["300x400", "900x600", "120x100"])
def test_the_golden_scores_are_met(size, tmp_path):
    case = cases.read("pipeline-twins_svt_small")
    torch.save(case.state(), tmp_path / "weights.pth")
    model = opened(ModelReference("twins_svt_small", tmp_path / "weights.pth"))
    given = next(p for p in case.facts["pictures"] if p["name"].endswith(size))
    pixels = InputImage.whole(Image.fromarray(seeded.image(given["name"], given["height"], given["width"])))
    output = model.run([CLASSIFY.preprocess(pixels, model.card, ClassifyOptions())])[0]
    best = CLASSIFY.postprocess(output, model.card, ClassifyOptions(top_k=5)).predictions
    assert best[0].class_id == case.expected[f"top5-{size}.index"][0]
    assert np.allclose([p.score for p in best], case.expected[f"top5-{size}.score"], atol=5e-3)
