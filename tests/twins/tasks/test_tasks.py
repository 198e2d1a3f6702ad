"""The tables of tasks, and the parameters of their samples."""

import numpy as np
import pytest

from tests.twins.tasks import test_classify, test_detect, test_segment
from twins.errors import BadOption
from twins.runtime.reduce import REDUCTIONS
from twins.tasks import TASKS, decode_params, encode_params
from twins.tasks.classify import ClassifyParams
from twins.tasks.detect import DetectParams
from twins.tasks.options import declared
from twins.tasks.segment import SegmentParams

CARDS = {"classify": test_classify.CARD, "segment": test_segment.CARD, "detect": test_detect.CARD}
OPTIONS = [(task, option) for task in TASKS.values() for option in declared(task.options).values()]


def test_a_task_is_known_by_its_own_name_in_every_table():
    assert {task.name for task in TASKS.values()} == {task.params.task for task in TASKS.values()} == set(TASKS)
    assert set(REDUCTIONS) == set(TASKS)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_says_how_large_its_batches_are_on_each_kind_of_device(task):
    assert set(task.max_batch) == {"cpu", "cuda"}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_blank_sample_has_the_usual_size_of_the_model(task):
    card = CARDS[task.model_task]
    sample = task.blank(card)
    assert (sample.input_size, sample.task) == (card.geometry.usual_size, task.name)
    assert not np.any(sample.pixels)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_only_serves_its_own_models(task):
    assert [name for name, card in CARDS.items() if task.serves(card)] == [task.model_task]


@pytest.mark.parametrize(
    "params",
    [
        *(ClassifyParams(), SegmentParams(), SegmentParams((300, 451), confidence=True)),
        *(DetectParams(), DetectParams((300, 451), 0.5, 0.3, 7, (2, 5), masks=False)),
    ],
    ids=repr,
)
def test_the_parameters_of_a_sample_survive_encoding(params):
    assert decode_params(params.task, encode_params(params)) == params


@pytest.mark.parametrize(("task", "option"), OPTIONS, ids=lambda each: each.name)
def test_every_option_is_described_and_its_default_is_allowed(task, option):
    assert option.description.endswith(".")
    assert getattr(task.options(), option.name) == option.default


@pytest.mark.parametrize(("task", "option"), OPTIONS, ids=lambda each: each.name)
def test_a_value_that_an_option_does_not_allow_is_rejected_with_its_name(task, option):
    wrong = [option.minimum - 1, option.maximum + 1] if option.minimum is not None else []
    for value in [*wrong, *(["neither"] if option.choices else [])]:
        with pytest.raises(BadOption, match=option.name):
            task.options(**{option.name: value})
