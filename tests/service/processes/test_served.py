"""Tests which models are announced, and which messages make a worker load and unload models."""

from pathlib import Path

import pytest

from service.ipc.messages import LoadModel, ModelStatus, UnloadModel
from service.processes.served import ServedModels
from twins.card import Card, Geometry, Normalisation
from twins.zoo.models import ModelReference


def reference(name: str) -> ModelReference:
    return ModelReference(name, Path(f"{name}.pth"), Path(f"/{name}.pth"), "00ff")


def card(name: str) -> Card:
    return Card(name, "classify", "svt_nano", (), Geometry(32), Normalisation(), False, "", "")


def held(**states: str) -> dict[str, ModelStatus]:
    return {name: ModelStatus(name, "00ff", state) for name, state in states.items()}


@pytest.fixture
def models():
    """Two models, of which one has been ready on a worker."""
    made = ServedModels([reference("first"), reference("second")])
    made.record([card("first")])
    return made


def names(models: ServedModels) -> list[str]:
    return [found.name for found in models.announced]


def test_a_model_is_announced_when_a_worker_has_it_ready(models):
    assert names(models) == ["first"]
    models.record([card("second")])
    assert names(models) == ["first", "second"]


def test_models_are_announced_in_the_order_in_which_they_are_wanted():
    made = ServedModels([reference("first"), reference("second")])
    made.record([card("second")])
    made.record([card("second"), card("first")])
    assert names(made) == ["first", "second"]


def test_a_worker_loads_what_it_lacks_once(models):
    assert models.changes(held(first="ready")) == [LoadModel(reference("second"))]
    assert models.changes(held(first="ready", second="loading")) == []


def test_a_model_that_drains_accepts_no_calls_and_stays_on_its_workers(models):
    models.drain("first")
    assert names(models) == []
    assert [status.state for status in models.seen_by_frontends(held(first="ready"))] == ["unloading"]
    assert models.changes(held(first="ready", second="ready")) == []


def test_a_worker_that_restarts_does_not_load_a_model_that_drains(models):
    models.drain("first")
    assert [wanted.name for wanted in models.references] == ["second"]


def test_a_model_that_is_removed_is_unloaded_where_it_is_ready_or_failed(models):
    models.drain("first")
    models.remove("first")
    assert models.changes(held(first="ready", second="ready")) == [UnloadModel("first")]
    assert models.changes(held(first="failed", second="ready")) == [UnloadModel("first")]


def test_a_model_that_is_still_loading_or_unloading_is_left_alone(models):
    models.remove("first")
    assert models.changes(held(first="loading", second="ready")) == []
    assert models.changes(held(first="unloading", second="ready")) == []


def test_a_removed_model_is_not_announced_again(models):
    models.remove("first")
    models.record([card("first")])
    assert names(models) == []


def test_another_version_than_the_one_served_is_unloaded_and_then_replaced(models):
    other = {"first": ModelStatus("first", "11ee", "ready"), **held(second="ready")}
    assert models.changes(other) == [UnloadModel("first")]
    assert models.changes(held(second="ready")) == [LoadModel(reference("first"))]


def test_another_version_than_the_one_served_gets_no_calls(models):
    (status,) = models.seen_by_frontends({"first": ModelStatus("first", "11ee", "ready")})
    assert status.state == "unloading"
