"""The JSON documents that all tasks share."""

import msgspec

from service.core.call import Answer
from service.errors import ServiceError
from service.metric_series import STAGES
from service.rest.problems import Problem
from twins.card import Card


class Failure(msgspec.Struct, frozen=True):
    """The error of one image among several, in the place of its answer."""

    error: Problem


class ModelEntry(msgspec.Struct, frozen=True):
    """One model in the list."""

    name: str
    task: str
    variant: str
    classes: int
    backend: str | None  # the library that runs it
    version: str


class ModelList(msgspec.Struct, frozen=True):
    """The served models. The first model of a task is its default."""

    models: list[ModelEntry]


class Status(msgspec.Struct, frozen=True):
    """The state of the service in one word."""

    status: str


class WorkerCount(msgspec.Struct, frozen=True):
    """The number of ready workers, and the number that should be ready."""

    ready: int
    expected: int


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of the service: ready, loading, failing or stopping; and why workers that run are not ready."""

    status: str
    workers: WorkerCount
    problems: dict[str, str] = {}


def listed(card: Card) -> ModelEntry:
    """Return the entry of a card in the list."""
    return ModelEntry(card.name, card.task, card.variant, len(card.labels), card.backend, card.version)


def server_timing(answers: list[Answer | ServiceError]) -> str:
    """Return the Server-Timing header in milliseconds. Several images run together: each stage has its longest time."""
    timings = [answer.timing for answer in answers if isinstance(answer, Answer)]
    longest = {stage: max((getattr(timing, stage) for timing in timings), default=0.0) for stage in STAGES}
    return ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in longest.items())
