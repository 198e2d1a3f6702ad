"""Networks on PyTorch: batches, precision, both kinds of input, and what errors of the device become."""

import dataclasses
import weakref

import numpy as np
import pytest
import torch

from tests.checkpoints import TINY_SVT, seeded
from twins.card import Normalisation
from twins.errors import DeviceLost, DeviceMissing, DeviceOutOfMemory, NonFiniteOutput
from twins.network.heads.classify import Classifier
from twins.network.variants import Family
from twins.runtime.batches import BatchRunner
from twins.runtime.choice import open_backend
from twins.runtime.plan import Plan
from twins.runtime.reduce import top_k
from twins.runtime.torch import TorchModel, choose_dtype
from twins.tasks.classify import ClassifyParams
from twins.tasks.sample import Sample
from twins.zoo.loading import Loaded, load
from twins.zoo.models import DEFAULT_MODELS, parse_reference


@pytest.fixture(scope="module")
def nano():
    """The model that ships."""
    return load(parse_reference(DEFAULT_MODELS["classify"]))


@pytest.fixture(scope="module")
def runner(nano):
    return TorchModel(nano, Plan())


@pytest.fixture
def tiny(nano):
    """A runner whose network a test may spoil."""
    network = Classifier(TINY_SVT, Family(), 13).eval()
    network.load_state_dict(seeded(TINY_SVT, 13))
    return TorchModel(Loaded(network, nano.card), Plan())


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
    alone = [runner.run([sample])[0] for sample in samples(count)]
    assert np.abs(by_class(runner.run(samples(count))) - by_class(alone)).max() < 1e-5


def test_the_classes_of_an_image_do_not_depend_on_its_neighbours(runner):
    alone = [runner.run([sample])[0].arrays[0][0] for sample in samples(8)]
    assert [output.arrays[0][0] for output in runner.run(samples(8))] == alone


def test_an_extreme_neighbour_changes_nothing(runner):
    sample, black, white = (
        samples(1)[0],
        Sample(np.zeros((112, 112, 3), np.uint8), ClassifyParams()),
        Sample(np.full((112, 112, 3), 255, np.uint8), ClassifyParams()),
    )
    assert np.allclose(by_class(runner.run([black, sample, white])[1:2]), by_class(runner.run([sample])), atol=1e-5)


def test_answers_come_in_the_order_of_the_samples(runner):
    forwards, backwards = runner.run(samples(6)), runner.run(samples(6)[::-1])
    assert np.allclose(by_class(forwards), by_class(backwards[::-1]), atol=1e-5)


def test_samples_need_not_be_square(runner):
    assert len(runner.run(samples(2, height=64, width=96))) == 2


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


def test_a_batch_too_large_for_the_device_runs_in_parts(tiny):
    tiny.network = Small(tiny.network, room=2)
    BatchRunner(tiny, "cpu").run(samples(5))
    assert tiny.network.tried == [5, 2, 2, 1]


def test_the_next_batch_of_that_shape_is_no_larger_than_the_parts(tiny):
    tiny.network = Small(tiny.network, room=2)
    runner = BatchRunner(tiny, "cpu")
    runner.run(samples(5))
    assert runner.max_batch(samples(1)[0].layout) == 2


@pytest.mark.parametrize("room", [1, 2, 3])
def test_a_batch_run_in_parts_gives_the_same_answers_in_order(tiny, room):
    whole = by_class(tiny.run(samples(7)))
    tiny.network = Small(tiny.network, room)
    assert np.allclose(by_class(BatchRunner(tiny, "cpu").run(samples(7))), whole, atol=1e-5)


def failing(tiny, error):
    """The model with a network that raises."""

    def fail(_):
        raise error

    tiny.network = fail
    return tiny


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
    ids=str,
)
def test_every_way_to_run_out_of_memory_is_one_error(tiny, error):
    with pytest.raises(DeviceOutOfMemory):
        failing(tiny, error).run(samples(2))


def test_the_processors_allocator_runs_out_of_memory_as_a_gpu_does(tiny):
    tiny.network = lambda _: torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(DeviceOutOfMemory):
        tiny.run(samples(1))


def test_an_error_of_the_accelerator_means_that_the_device_is_lost(tiny):
    with pytest.raises(DeviceLost, match="illegal memory access"):
        failing(tiny, torch.AcceleratorError("CUDA error: an illegal memory access was encountered")).run(samples(1))


def test_other_errors_pass_unchanged(tiny):
    with pytest.raises(RuntimeError, match="broken"):
        failing(tiny, RuntimeError("broken")).run(samples(4))


def test_a_device_that_is_not_there_is_missing():
    with pytest.raises(DeviceMissing, match="cuda:99"):
        open_backend(Plan("cuda:99"))


# outputs that mean nothing


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite_are_an_error_of_their_sample_alone(tiny, value):
    network = tiny.network

    def spoil(x):
        logits = network(x)
        logits[1, 3] = value
        return logits

    tiny.network = spoil
    first, second, third = tiny.run(samples(3))
    assert isinstance(second, NonFiniteOutput)
    assert np.isfinite(by_class([first, third])).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_equal_scores_in_low_precision_are_ordered_by_class_id(dtype):
    logits = torch.tensor([[1.0, 3.001, 1.0, 3.0, 1.0]]).to(dtype)  # the second and fourth are the same number there
    ((ids, scores),) = top_k.reduce(logits, samples(1))
    assert ids.tolist() == [1, 3, 0, 2, 4]
    assert scores.dtype == torch.float32
    assert float(scores.sum()) == pytest.approx(1, abs=1e-6)


# the network's own input


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_normalised_sample_gives_the_answer_of_its_pixels(nano, precision):
    model = TorchModel(load(parse_reference(DEFAULT_MODELS["classify"])), Plan(precision=precision))
    pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples(2)]))
    normalised = [Sample(x, ClassifyParams()) for x in model.normalise(pixels).float().numpy()]
    assert np.array_equal(by_class(model.run(normalised)), by_class(model.run(samples(2))))


def test_a_normalised_sample_knows_its_size():
    assert Sample(np.zeros((3, 64, 96), np.float32), ClassifyParams()).input_size == (64, 96)


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
    reduced = TorchModel(load(parse_reference(DEFAULT_MODELS["classify"])), Plan(precision=precision))
    assert np.abs(by_class(reduced.run(samples(4))) - by_class(runner.run(samples(4)))).max() < tolerance


# normalisation


def test_pixels_are_normalised_per_channel(tiny):
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(1, 2, 4, 3)
    scale = Normalisation()
    expected = [(v / 255 - m) / s for v, m, s in zip((0, 128, 255), scale.mean, scale.std, strict=True)]
    found = tiny.normalise(pixels)
    assert torch.allclose(found, torch.tensor(expected).view(1, 3, 1, 1).expand(1, 3, 2, 4), atol=1e-6)


def test_a_models_own_normalisation_is_used(nano):
    card = dataclasses.replace(nano.card, normalisation=Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    runner = TorchModel(Loaded(nano.network, card), Plan())
    assert runner.normalise(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)).flatten().tolist() == [1, 1, 1]


def test_warming_up_runs_a_batch_at_the_models_geometry(tiny):
    shapes, network = [], tiny.network
    tiny.network = lambda x: (shapes.append(tuple(x.shape)), network(x))[1]
    tiny.warm_up(4)
    assert shapes == [(4, 3, 112, 112)]


def test_an_unloaded_model_holds_no_network(tiny):
    network = weakref.ref(tiny.network)
    tiny.unload()
    assert network() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_gpu_gives_the_processors_answers(runner, precision):
    gpu = TorchModel(load(parse_reference(DEFAULT_MODELS["classify"])), Plan(device="cuda", precision=precision))
    assert np.abs(by_class(gpu.run(samples(4))) - by_class(runner.run(samples(4)))).max() < 0.05
