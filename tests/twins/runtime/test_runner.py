"""A model on a device: an image's answer is its own, whoever shares its batch and however the batch is run."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.checkpoints import TINY_SVT, seeded
from twins.card import Normalisation
from twins.network.heads.classify import Classifier
from twins.network.variants import Family
from twins.runtime.plan import Plan
from twins.runtime.runner import Runner, choose_dtype
from twins.tasks.classify import ClassifyParams
from twins.tasks.sample import Sample
from twins.zoo.loading import Loaded, load
from twins.zoo.models import DEFAULT_MODELS, parse_reference


@pytest.fixture(scope="module")
def nano():
    """The packaged model."""
    return load(parse_reference(DEFAULT_MODELS["classify"]))


@pytest.fixture(scope="module")
def runner(nano):
    return Runner(nano, Plan())


@pytest.fixture
def tiny(nano):
    """A runner whose network a test may spoil."""
    network = Classifier(TINY_SVT, Family(), 13).eval()
    network.load_state_dict(seeded(TINY_SVT, 13))
    return Runner(Loaded(network, nano.card), Plan())


def samples(count, height=112, width=112):
    random = np.random.default_rng(0)
    return [Sample(random.integers(0, 256, (height, width, 3), np.uint8), ClassifyParams()) for _ in range(count)]


def ids(outputs):
    return [output.arrays[0].tolist() for output in outputs]


def by_class(outputs):
    """Scores in the order of the class ids."""
    return np.stack([output.arrays[1][np.argsort(output.arrays[0])] for output in outputs])


# neighbours


@pytest.mark.parametrize("count", [2, 5, 8])
def test_the_scores_of_an_image_do_not_depend_on_its_neighbours(runner, count):
    alone = [runner.forward([sample])[0] for sample in samples(count)]
    assert np.abs(by_class(runner.forward(samples(count))) - by_class(alone)).max() < 1e-5


def test_the_classes_of_an_image_do_not_depend_on_its_neighbours(runner):
    alone = [runner.forward([sample])[0].arrays[0][0] for sample in samples(8)]
    assert [output.arrays[0][0] for output in runner.forward(samples(8))] == alone


def test_an_extreme_neighbour_changes_nothing(runner):
    sample, black, white = (
        samples(1)[0],
        Sample(np.zeros((112, 112, 3), np.uint8), ClassifyParams()),
        Sample(np.full((112, 112, 3), 255, np.uint8), ClassifyParams()),
    )
    assert np.allclose(
        by_class(runner.forward([black, sample, white])[1:2]), by_class(runner.forward([sample])), atol=1e-5
    )


def test_answers_come_in_the_order_of_the_samples(runner):
    forwards, backwards = runner.forward(samples(6)), runner.forward(samples(6)[::-1])
    assert np.allclose(by_class(forwards), by_class(backwards[::-1]), atol=1e-5)


def test_samples_need_not_be_square(runner):
    assert len(runner.forward(samples(2, height=64, width=96))) == 2


# a batch that is too large


class Small(torch.nn.Module):
    """A network on a device with room for so many images."""

    def __init__(self, network, room):
        super().__init__()
        self.network, self.room, self.tried = network, room, []

    def forward(self, x):
        self.tried.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("no room")
        return self.network(x)


def test_a_batch_too_large_for_the_device_runs_in_halves(tiny):
    tiny.network = Small(tiny.network, room=2)
    tiny.forward(samples(5))
    assert tiny.network.tried == [5, 2, 3, 1, 2]


@pytest.mark.parametrize("room", [1, 2, 3])
def test_a_batch_run_in_halves_gives_the_same_answers_in_order(tiny, room):
    whole = by_class(tiny.forward(samples(7)))
    tiny.network = Small(tiny.network, room)
    assert np.allclose(by_class(tiny.forward(samples(7))), whole, atol=1e-5)


def test_an_image_too_large_by_itself_is_an_error(tiny):
    tiny.network = Small(tiny.network, room=0)
    with pytest.raises(torch.OutOfMemoryError):
        tiny.forward(samples(3))


def test_other_errors_are_not_tried_again(tiny, monkeypatch):
    calls = []

    def fail(x):
        calls.append(len(x))
        raise RuntimeError("broken")

    monkeypatch.setattr(tiny, "network", fail)
    with pytest.raises(RuntimeError, match="broken"):
        tiny.forward(samples(4))
    assert calls == [4]


# precision


def test_a_processor_computes_in_float32():
    assert choose_dtype(torch.device("cpu"), "auto") == torch.float32


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ((6, 1), torch.float32),
        ((7, 0), torch.float16),
        ((7, 5), torch.float16),
        ((8, 0), torch.bfloat16),
        ((9, 0), torch.bfloat16),
    ],
)
def test_a_gpu_computes_in_the_best_type_that_it_has_in_hardware(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_dtype(torch.device("cuda"), "auto") == dtype


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_wanted_precision_is_used(device, name):
    assert choose_dtype(torch.device(device), name) == getattr(torch, name)


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_reduced_precision_stays_close(runner, precision, tolerance):
    reduced = Runner(load(parse_reference(DEFAULT_MODELS["classify"])), Plan(precision=precision))
    assert np.abs(by_class(reduced.forward(samples(4))) - by_class(runner.forward(samples(4)))).max() < tolerance


# normalisation


def test_pixels_are_normalised_per_channel(tiny):
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(1, 2, 4, 3)
    scale = Normalisation()
    expected = [(v / 255 - m) / s for v, m, s in zip((0, 128, 255), scale.mean, scale.std, strict=True)]
    found = tiny.normalise(pixels)
    assert torch.allclose(found, torch.tensor(expected).view(1, 3, 1, 1).expand(1, 3, 2, 4), atol=1e-6)


def test_a_models_own_normalisation_is_used(nano):
    card = dataclasses.replace(nano.card, normalisation=Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    runner = Runner(Loaded(nano.network, card), Plan())
    assert runner.normalise(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)).flatten().tolist() == [1, 1, 1]


def test_warming_up_runs_every_batch_size_at_the_models_geometry(tiny):
    shapes, network = [], tiny.network
    tiny.network = lambda x: (shapes.append(tuple(x.shape)), network(x))[1]
    tiny.warm_up([1, 4])
    assert shapes == [(1, 3, 112, 112), (4, 3, 112, 112)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_gpu_gives_the_processors_answers(runner, precision):
    gpu = Runner(load(parse_reference(DEFAULT_MODELS["classify"])), Plan(device="cuda", precision=precision))
    assert np.abs(by_class(gpu.forward(samples(4))) - by_class(runner.forward(samples(4)))).max() < 0.05
