"""Errors that depend on the state of the service are those of the examples in the OpenAPI document."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from service.access.quotas import Client, Quotas
from service.core.engine import Engine
from service.examples import MODEL_NAME
from service.settings import Settings
from tests.openapi import ROUTES, Operation, application, assert_refused, first, having
from tests.service.core.engines import FakePool, card


@pytest.fixture
def engine():
    """Return an engine with room for one image, over a pool with a model for each task."""
    engine = Engine(Settings.model_validate({**ROUTES, "max_queue": 1, "request_timeout_s": 0.2}), FakePool())
    others = [replace(card(task), task=task) for task in ("segment", "detect")]
    engine.pool.cards = {each.key: each for each in (card(MODEL_NAME), *others)}
    return engine


def fill(engine: Engine) -> None:
    """Let an image wait."""
    engine.admission.count(MODEL_NAME, 1)


def lose_workers(engine: Engine) -> None:
    """End all workers before one has named its models."""
    engine.pool.ready, engine.pool.cards = 0, {}


def break_workers(engine: Engine) -> None:
    """Let the workers fail in a way that nothing expects."""
    engine.pool.fault = RuntimeError("the disk is gone")


def block_workers(engine: Engine) -> None:
    """Let the workers answer nothing."""
    engine.pool.gate.clear()


def use_up_share(engine: Engine) -> None:
    """Let the client of the test have as many images in flight as it may."""
    engine.quotas = Quotas(in_flight=1)
    engine.quotas.clients["testclient"] = Client(1.0, 0.0, in_flight=1)


CAUSES: Mapping[str, Callable[[Engine], None]] = {
    "overloaded": fill,
    "quota_exceeded": use_up_share,
    "unavailable": lose_workers,
    "internal": break_workers,
    "deadline_exceeded": block_workers,
}
"""What brings the service into the state in which it answers with an error."""


def cases() -> list[tuple[str, Operation]]:
    """Return each error with the operations that run a model, except those that have the errors of images in a list."""
    return [(code, operation) for code in CAUSES for operation in having("unreadable_image")]


@pytest.mark.parametrize(("code", "operation"), cases(), ids=str)
def test_an_error_of_the_service_is_that_of_the_example(engine, code, operation):
    CAUSES[code](engine)
    with TestClient(application(engine), raise_server_exceptions=False) as client:
        assert_refused(operation, first(operation).send(client), code)


@pytest.mark.parametrize("operation", having("unavailable"), ids=str)
def test_without_workers_an_operation_answers_the_error_of_the_example(engine, operation):
    lose_workers(engine)
    with TestClient(application(engine)) as client:
        assert_refused(operation, first(operation).send(client), "unavailable")
