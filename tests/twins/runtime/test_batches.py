"""Batches on a device with too little memory: parts, remembered sizes, and samples that do not fit."""

import pytest

from tests.backends import FakeModel, sample
from twins.errors import DeviceLost, DeviceOutOfMemory
from twins.runtime.batches import BatchRunner


def values(found):
    return [output.arrays[0].item() for output in found]


def batch(count, *, side=8):
    return [sample(value, side=side) for value in range(count)]


def test_a_batch_that_fits_runs_at_once():
    model = FakeModel("a", room=8)
    BatchRunner(model, "cpu").run(batch(8))
    assert model.tried == [8]


def test_a_batch_that_does_not_fit_is_answered_in_order():
    assert values(BatchRunner(FakeModel("a", room=3), "cpu").run(batch(8))) == list(range(8))


def test_the_size_that_fits_is_used_for_the_next_batch_of_that_shape():
    model = FakeModel("a", room=3)
    runner = BatchRunner(model, "cpu")
    runner.run(batch(8))
    model.tried.clear()
    runner.run(batch(8))
    assert model.tried == [2, 2, 2, 2]


def test_other_shapes_keep_their_batch_size():
    runner = BatchRunner(FakeModel("a", room=3), "cpu")
    runner.run(batch(8))
    assert (runner.max_batch(sample(0).layout), runner.max_batch(sample(0, side=16).layout)) == (2, 8)


def test_a_sample_that_does_not_fit_alone_leaves_its_neighbours_their_answers():
    model = FakeModel("a")
    model.too_large = 2
    found = BatchRunner(model, "cpu").run(batch(5))
    assert isinstance(found.pop(2), DeviceOutOfMemory)
    assert values(found) == [0, 1, 3, 4]


def test_a_sample_that_does_not_fit_alone_does_not_reduce_later_batches():
    model = FakeModel("a")
    model.too_large = 2
    runner = BatchRunner(model, "cpu")
    runner.run(batch(5))
    assert runner.max_batch(sample(0).layout) == 8


def test_a_lost_device_is_not_tried_again():
    model = FakeModel("a")
    model.fault = DeviceLost("gone")
    with pytest.raises(DeviceLost):
        BatchRunner(model, "cpu").run(batch(8))
    assert model.tried == [8]


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])])
def test_sizes_to_warm_up_double_up_to_the_largest(most, sizes):
    assert BatchRunner(FakeModel("a"), "cpu", max_batch=most).sizes() == sizes


def test_a_size_that_does_not_fit_at_the_start_is_never_used():
    runner = BatchRunner(FakeModel("a", room=3), "cpu")
    assert [runner.warm_up(size) for size in (1, 2, 4)] == [True, True, False]
    assert runner.max_batch(sample(0).layout) == 2


def test_a_model_for_which_not_even_one_sample_fits_cannot_be_warmed_up():
    with pytest.raises(DeviceOutOfMemory):
        BatchRunner(FakeModel("a", room=0), "cpu").warm_up(1)


def test_a_size_that_does_not_fit_leaves_the_largest_one_that_did():
    runner = BatchRunner(FakeModel("a", room=8), "cpu", max_batch=12)
    assert [size for size in runner.sizes() if runner.warm_up(size)] == [1, 2, 4, 8]
    assert runner.limit == 8
