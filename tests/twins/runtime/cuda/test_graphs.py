"""Which layouts and sizes get a graph, and that a graph is replayed only for its own."""

import pytest
import torch

from tests.streams import FakeStreams
from twins.runtime.cuda import graphs
from twins.runtime.cuda.graphs import REPEATS, Graphs

BLANK = ("classify", "|u1", (4, 4, 3))
OTHER = ("classify", "|u1", (8, 4, 3))


@pytest.fixture
def streams():
    return FakeStreams()


@pytest.fixture
def found(streams):
    """Graphs of a function that adds up the pixels of each image, with those of one layout recorded."""
    made = Graphs(streams, lambda pixels, _: pixels.flatten(1).float().sum(dim=1))
    with streams.forward():
        for size in (1, 2, 4):
            made.prepare(BLANK, size)
    return made


def run(found, streams, layout, count, value=1):
    """Run a batch, and return its output and what was replayed."""
    streams.log.clear()
    with streams.forward():
        output = found.run(torch.full((count, *layout[2]), value, dtype=torch.uint8), layout)
    return output.tolist(), streams.log


def test_a_batch_is_padded_and_its_padding_is_not_returned(found, streams):
    assert run(found, streams, BLANK, 3, value=2) == ([96.0] * 3, ["replay of 4"])


def test_a_batch_that_is_larger_than_all_graphs_runs_without_one(found, streams):
    assert run(found, streams, BLANK, 5) == ([48.0] * 5, [])


def test_another_layout_never_runs_in_the_graph_of_this_one(found, streams):
    assert run(found, streams, OTHER, 2) == ([96.0] * 2, [])


def test_a_layout_that_repeats_gets_a_graph(found, streams):
    replayed = [run(found, streams, OTHER, 2)[1][:] for _ in range(REPEATS + 1)]
    assert replayed == [[]] * (REPEATS - 1) + [["replay of 2"]] * 2


def test_the_number_of_graphs_is_limited(found, streams, monkeypatch):
    monkeypatch.setattr(graphs, "MAX_GRAPHS", 4)
    for layout in (OTHER, ("classify", "|u1", (16, 4, 3))):
        for _ in range(REPEATS):
            run(found, streams, layout, 1)
    assert len(streams.captured) == 4


def test_layouts_that_never_repeat_need_no_memory(found, streams, monkeypatch):
    monkeypatch.setattr(graphs, "MAX_COUNTED", 5)
    for height in range(1, 20):
        run(found, streams, ("classify", "|u1", (height, 4, 3)), 1)
    assert len(found.counts) <= 5


def test_a_layout_that_cannot_be_recorded_is_tried_once(found, streams):
    streams.can_capture, tried = False, []
    capture = streams.capture
    streams.capture = lambda function: (tried.append(1), capture(function))[1]
    for _ in range(3 * REPEATS):
        assert run(found, streams, OTHER, 2) == ([96.0] * 2, [])
    assert len(tried) == 1
