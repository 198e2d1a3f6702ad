"""Batches that overlap, on streams without a device: their order, their buffers, and the answers of a plain model."""

import weakref

import numpy as np
import pytest
import torch

from tests import detection
from tests.streams import FakeStreams
from twins.errors import DeviceLost, NonFiniteOutput
from twins.runtime.cuda.buffers import MOST_KEPT_BYTES, HostBuffers
from twins.runtime.cuda.model import StreamedModel
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchModel
from twins.tasks.classify import ClassifyParams
from twins.tasks.detect import DetectParams
from twins.tasks.embed import EmbedParams
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams
from twins.zoo.loading import load
from twins.zoo.models import DEFAULT_MODELS, ModelReference, parse_reference


def plain(task: str) -> TorchModel:
    """Return a shipped model without streams."""
    return TorchModel(load(parse_reference(DEFAULT_MODELS[task])), Plan())


@pytest.fixture(scope="module")
def classifier():
    return plain("classify")


@pytest.fixture(scope="module")
def segmenter():
    return plain("segment")


@pytest.fixture
def streams():
    return FakeStreams()


@pytest.fixture
def model(classifier, streams):
    """A classifier on these streams, warmed up for batches of up to four."""
    return warm(StreamedModel(classifier, streams), streams)


def warm(model, streams, sizes=(1, 2, 4)):
    for size in sizes:
        model.warm_up(size)
    streams.log.clear()
    streams.uploads = streams.downloads = 0
    return model


def samples(count, height=112, width=112, params=None, seed=0):
    random = np.random.default_rng(seed)
    return [
        Sample(random.integers(0, 256, (height, width, 3), np.uint8), params or ClassifyParams()) for _ in range(count)
    ]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for array, reference in zip(one.arrays, other.arrays, strict=True):
            assert (array.dtype, array.shape) == (reference.dtype, reference.shape)
            assert np.allclose(array, reference, atol=1e-5)


# order


def test_the_next_batch_is_uploaded_before_the_result_of_the_last_one_is_read(model, streams):
    first = model.submit(samples(2))
    second = model.submit(samples(2, seed=1))
    first.result()
    second.result()
    steps = [step for step in streams.log if "replay" not in step]
    assert steps == [
        *("upload 1", "download 1", "upload 2", "download 2"),
        *("wait for download 1", "wait for download 2"),
    ]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_batch_is_uploaded_once_and_downloaded_once(model, streams, count):
    model.run(samples(count))
    assert (streams.uploads, streams.downloads) == (1, 1)


def test_masks_of_different_sizes_are_downloaded_together(segmenter, streams):
    sizes = [(50, 60), (33, 77), (64, 96)]
    given = [samples(1, 64, 96, SegmentParams(size, confidence=size[0] == 33))[0] for size in sizes]
    found = StreamedModel(segmenter, streams).run(given)
    assert (streams.downloads, [output.arrays[0].shape for output in found]) == (1, sizes)
    assert_same(found, segmenter.run(given))


# buffers


def test_batches_in_flight_never_share_a_buffer(model, classifier):
    given = [samples(2, seed=seed) for seed in range(3)]
    batches = [model.submit(each) for each in given]
    for batch, each in zip(batches, given, strict=True):
        assert_same(batch.result(), classifier.run(each))


def test_buffers_are_used_again_once_a_batch_has_ended(model, streams):
    model.run(samples(4))
    made = len(streams.buffers)
    for seed in range(5):
        model.run(samples(4, seed=seed))
    assert len(streams.buffers) == made


def test_an_output_does_not_change_when_its_buffer_is_used_again(model, classifier):
    given = samples(2)
    found = model.run(given)
    model.run(samples(2, seed=1))
    assert_same(found, classifier.run(given))


def test_a_larger_batch_gets_a_larger_buffer(model, classifier):
    model.run(samples(1))
    assert_same(model.run(samples(4)), classifier.run(samples(4)))


# graphs


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (3, 4), (4, 4)])
def test_a_batch_runs_in_the_graph_of_the_next_size(model, streams, count, size):
    model.run(samples(count))
    assert f"replay of {size}" in streams.log


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_graph_gives_the_answers_of_a_plain_model(model, classifier, count):
    assert_same(model.run(samples(count)), classifier.run(samples(count)))


def test_the_output_of_a_graph_may_be_overwritten_before_it_is_read(model, classifier):
    given = [samples(3, seed=seed) for seed in range(2)]
    batches = [model.submit(each) for each in given]
    for batch, each in zip(batches, given, strict=True):
        assert_same(batch.result(), classifier.run(each))


def test_another_task_of_the_model_has_graphs_of_its_own(model, classifier, streams):
    given = samples(2, params=EmbedParams())
    assert_same(model.run(given), classifier.run(given))
    assert not [step for step in streams.log if "replay" in step]


def test_without_graphs_each_kernel_is_submitted_by_itself(classifier, streams):
    model = warm(StreamedModel(classifier, streams, graphs=False), streams)
    assert_same(model.run(samples(3)), classifier.run(samples(3)))
    assert not streams.captured


def test_a_network_that_cannot_be_recorded_runs_without_graphs(classifier, streams):
    streams.can_capture = False
    model = warm(StreamedModel(classifier, streams), streams)
    assert_same(model.run(samples(3)), classifier.run(samples(3)))


# errors


def test_scores_that_are_not_finite_are_an_error_of_their_sample_alone(model, classifier):
    given = [Sample(np.full((3, 112, 112), value, np.float32), ClassifyParams()) for value in (0.5, np.nan, 1.5)]
    first, second, third = model.run(given)
    assert isinstance(second, NonFiniteOutput)
    assert_same([first, third], classifier.run([given[0], given[2]]))


def test_a_device_that_is_lost_while_a_batch_is_in_flight_is_an_error_of_its_result(model, streams):
    batch = model.submit(samples(2))
    streams.fault = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(DeviceLost):
        batch.result()


def test_an_unloaded_model_waits_for_the_device_and_then_holds_no_network(streams):
    model = warm(StreamedModel(plain("classify"), streams), streams)
    network = weakref.ref(model.model.network)
    model.unload()
    assert (streams.log[-1], network()) == ("settle", None)


def test_a_model_is_loaded_while_the_graph_of_another_is_recorded(classifier, segmenter, streams):
    loaded = []

    def forward():
        loaded.append(StreamedModel(segmenter, streams))
        return torch.zeros(1)

    with streams.forward():
        streams.capture(forward)
    assert loaded
    assert streams.log[-1] == "finish loading"


def test_memory_for_an_unusually_large_batch_is_not_kept():
    buffers = HostBuffers(lambda size: torch.empty(size, dtype=torch.uint8))
    small, large = buffers.take(1024), torch.empty(MOST_KEPT_BYTES + 1, dtype=torch.uint8)
    for each in (small, large):
        buffers.put_back(each)
    assert [len(each) for each in buffers.free] == [1024]


@pytest.mark.parametrize("head", ["retinanet", "maskrcnn"])
def test_a_detector_on_streams_gives_the_answers_of_a_plain_one(tmp_path, head):
    plain_one = TorchModel(load(ModelReference("tiny", detection.tiny(tmp_path, head))), Plan())
    model = StreamedModel(plain_one, FakeStreams())
    model.warm_up(2)
    batch = samples(2, 96, 128, DetectParams((300, 400)))
    assert_same(model.submit(batch).result(), plain_one.run(batch))
