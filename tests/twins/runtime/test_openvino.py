"""Networks on OpenVINO: the answers of PyTorch for every batch, shape and kind of input, and errors of the device."""

import subprocess
import sys

import numpy as np
import pytest

from tests import segmentation
from tests.server import wait_until
from twins.errors import DeviceMissing, DeviceOutOfMemory, NonFiniteOutput
from twins.network.variants import VARIANTS
from twins.runtime.openvino import OpenVinoBackend
from twins.runtime.openvino_streams import Streams, key_of
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchBackend
from twins.tasks import TASKS
from twins.tasks.classify import ClassifyParams
from twins.tasks.embed import EmbedParams
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams
from twins.zoo.models import DEFAULT_MODELS, ModelReference, parse_reference

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def nano():
    """The classifier that ships, with programs for one, two and four images."""
    model = OpenVinoBackend(Plan()).load(parse_reference(DEFAULT_MODELS["classify"]))
    for size in (1, 2, 4):
        model.warm_up(size)
    return model


@pytest.fixture(scope="module")
def torch_nano():
    return TorchBackend(Plan()).load(parse_reference(DEFAULT_MODELS["classify"]))


CLASSIFY_PARAMS = ClassifyParams()


def images(count, params=CLASSIFY_PARAMS, *, size=(112, 112)):
    random = np.random.default_rng(0)
    return [Sample(random.integers(0, 256, (*size, 3), np.uint8), params) for _ in range(count)]


def by_class(outputs):
    """Scores in the order of the class ids."""
    return np.stack([output.arrays[1][np.argsort(output.arrays[0])] for output in outputs])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_the_scores_are_those_of_pytorch_for_every_batch(nano, torch_nano, count):
    assert np.abs(by_class(nano.run(images(count))) - by_class(torch_nano.run(images(count)))).max() < TOLERANCE


@pytest.mark.parametrize("size", [(64, 96), (113, 200), (33, 34)], ids=str)
def test_the_scores_are_those_of_pytorch_for_every_shape(nano, torch_nano, size):
    given = images(2, size=size)
    assert np.abs(by_class(nano.run(given)) - by_class(torch_nano.run(given))).max() < TOLERANCE


def test_a_normalised_sample_gets_the_scores_of_pytorch(nano, torch_nano):
    random = np.random.default_rng(0)
    given = [Sample(random.standard_normal((3, 112, 112), np.float32), ClassifyParams()) for _ in range(2)]
    assert np.abs(by_class(nano.run(given)) - by_class(torch_nano.run(given))).max() < TOLERANCE


def test_a_classifier_embeds_with_the_same_programs(nano, torch_nano):
    programs = set(nano.whole.programs)
    found, expected = nano.run(images(2, EmbedParams())), torch_nano.run(images(2, EmbedParams()))
    assert np.allclose([each.arrays[0] for each in found], [each.arrays[0] for each in expected], atol=1e-4)
    assert set(nano.whole.programs) == programs


def test_an_output_stays_as_it_is_while_the_next_batch_runs(nano):
    first = nano.run(images(1, EmbedParams()))[0].arrays[0]
    kept = first.copy()
    nano.run([Sample(np.zeros((112, 112, 3), np.uint8), EmbedParams())])
    assert np.array_equal(first, kept)


def sizes(model, samples, streams):
    return [len(part) for part in streams.parts(samples, model.first_values(samples[0]))]


def test_a_batch_runs_in_the_sizes_that_are_compiled(nano):
    assert sizes(nano, images(7), nano.whole) == [4, 2, 1]


def test_a_batch_of_another_shape_runs_at_once(nano):
    assert sizes(nano, images(7, size=(64, 64)), nano.whole) == [7]


def test_a_batch_whose_maps_would_leave_the_cache_runs_in_parts(nano):
    assert sizes(nano, images(5), Streams(1, 0, most_values=2 * 28 * 28 * 32)) == [2, 2, 1]  # the maps of two images


@pytest.fixture(scope="module", params=[(2, 1), (4, 2), (4, 3)], ids=str)
def in_streams(request):
    """The classifier that ships, with streams for small images."""
    threads, small_threads = request.param
    plan = Plan(threads=threads, small_threads=small_threads)
    model = OpenVinoBackend(plan).load(parse_reference(DEFAULT_MODELS["classify"]))
    for size in (1, 2, 4, 8):
        model.warm_up(size)
    return model


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_the_scores_are_those_of_pytorch_if_a_batch_is_divided_among_streams(in_streams, torch_nano, count):
    assert np.abs(by_class(in_streams.run(images(count))) - by_class(torch_nano.run(images(count)))).max() < TOLERANCE


def test_a_program_runs_in_each_stream(in_streams):
    assert in_streams.small.count == in_streams.backend.plan.small_threads
    assert {len(requests) for requests in in_streams.small.programs.values()} == {in_streams.small.count}


def test_a_batch_of_small_images_is_divided_among_the_streams(in_streams):
    assert not in_streams.whole.programs
    expected = {1: [4, 4, 4, 1], 2: [4, 4, 2, 2, 1], 3: [3, 3, 3, 2, 1, 1]}
    assert sizes(in_streams, images(13), in_streams.small) == expected[in_streams.small.count]


def test_there_are_no_streams_for_small_images_unless_other_processes_need_the_cores(nano):
    assert not nano.small.largest_part(nano.first_values(images(1)[0]))


def test_an_image_with_large_maps_gets_all_threads(in_streams):
    assert not in_streams.small.largest_part(in_streams.first_values(images(1, size=(512, 683))[0]))


def test_a_batch_runs_after_one_that_failed_while_other_parts_ran(in_streams, torch_nano, monkeypatch):
    started = []

    def fail_at_the_second(*part, start=in_streams.start):
        if started:
            raise RuntimeError("std::bad_alloc")
        started.append(start(*part))
        return started[0]

    given = images(8)
    with monkeypatch.context() as patch:
        patch.setattr(in_streams, "start", fail_at_the_second)
        with pytest.raises(DeviceOutOfMemory):
            in_streams.run(given)
    assert np.abs(by_class(in_streams.run(given)) - by_class(torch_nano.run(given))).max() < TOLERANCE


def test_the_first_map_of_the_network_is_as_wide_as_its_variant_says(nano):
    assert nano.width == VARIANTS[nano.card.variant].dims[0]


@pytest.fixture(scope="module")
def segmenters(tmp_path_factory):
    reference = ModelReference("tiny", segmentation.tiny(tmp_path_factory.mktemp("tiny")))
    return [made(Plan()).load(reference) for made in (OpenVinoBackend, TorchBackend)]


@pytest.mark.parametrize("size", [(64, 96), (112, 112), (70, 131)], ids=str)
def test_the_masks_are_those_of_pytorch_whether_windows_are_padded_or_not(segmenters, size):
    sample = images(1, SegmentParams((150, 200)), size=size)
    found, expected = (model.run(sample)[0].arrays[0] for model in segmenters)
    assert (found == expected).mean() > 0.999


def test_any_image_size_is_compiled_when_a_segmentation_model_is_loaded(segmenters):
    model = segmenters[0]
    model.warm_up(1)
    blank = TASKS["segment"].blank(model.card)
    assert set(model.whole.programs) >= {("|u1", None), key_of([blank])}


def test_an_image_size_that_keeps_coming_gets_a_program_with_the_same_answers(segmenters):
    model = segmenters[0]
    samples = images(1, SegmentParams((50, 90)), size=(50, 90))
    first = model.run(samples)[0].arrays[0]
    wait_until(lambda: model.run(samples) and key_of(samples) in model.recurring.made)
    assert (model.run(samples)[0].arrays[0] == first).mean() > 0.999


def test_scores_that_are_not_finite_are_an_error_of_their_sample_alone(nano):
    broken = Sample(np.full((3, 112, 112), np.nan, np.float32), ClassifyParams())
    good = Sample(np.zeros((3, 112, 112), np.float32), ClassifyParams())
    first, second, third = nano.run([good, broken, good])
    assert isinstance(second, NonFiniteOutput)
    assert np.isfinite(by_class([first, third])).all()


@pytest.mark.parametrize("message", ["std::bad_alloc", "could not create a memory object", "Cannot allocate memory"])
def test_every_way_to_run_out_of_memory_is_one_error(nano, monkeypatch, message):
    def fail(*_):
        raise RuntimeError(f"Exception from src/inference/src/cpp/infer_request.cpp:224:\n{message}")

    monkeypatch.setattr(nano, "start", fail)
    with pytest.raises(DeviceOutOfMemory):
        nano.run(images(1))


def test_openvino_does_not_run_on_a_gpu():
    with pytest.raises(DeviceMissing):
        OpenVinoBackend(Plan("cuda"))


def test_openvino_reports_nothing_to_its_makers():
    """The package `openvino_telemetry` sends an event when OpenVINO is imported."""
    code = (
        "import sys, twins.runtime.openvino as o; from openvino.tools.ovc import telemetry_utils as t;"
        "print(t.tm.__name__, 'openvino_telemetry.main' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "False"]


def test_an_unloaded_model_holds_no_program(tmp_path):
    model = OpenVinoBackend(Plan()).load(ModelReference("tiny", segmentation.tiny(tmp_path)))
    model.unload()
    assert not model.whole.programs


def test_a_program_for_any_shape_is_right_after_a_shape_at_which_windows_are_padded(torch_nano):
    model = OpenVinoBackend(Plan()).load(parse_reference(DEFAULT_MODELS["classify"]))
    for size in ((32, 32), (65, 97), (112, 112), (224, 224)):
        given = images(1, size=size)
        assert np.abs(by_class(model.run(given)) - by_class(torch_nano.run(given))).max() < TOLERANCE


TWO_AT_ONCE = """
import threading

from twins.runtime.openvino import OpenVinoBackend
from twins.runtime.plan import Plan
from twins.zoo.models import DEFAULT_MODELS, parse_reference

backend = OpenVinoBackend(Plan())
together = threading.Barrier(2)


def serve():
    model = backend.load(parse_reference(DEFAULT_MODELS["classify"]))
    compiled = model.program
    model.program = lambda key, streams: (compiled(key, streams), together.wait(60))[0]
    model.warm_up(1)


threads = [threading.Thread(target=serve) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_models_that_read_their_first_tensors_at_once_do_not_stop_the_process():
    """Without `prepare_types`, about every third run stops for ever."""
    subprocess.run([sys.executable, "-c", TWO_AT_ONCE], check=True, timeout=120)
