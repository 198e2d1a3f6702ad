"""Answers as JSON has them."""

import msgspec

from service.core.call import Answer
from service.errors import ServiceError
from service.metrics import STAGES
from service.rest.problems import Problem
from twins.card import Card
from twins.render.formats import JSON, RenderedMask
from twins.tasks.classify import Classification


class PredictionBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """One class; `synset` is WordNet's id, where the labels have one."""

    label: str
    class_id: int
    score: float
    synset: str | None = None


class ClassifyAnswer(msgspec.Struct, frozen=True):
    """One image's classes, best first."""

    model: str
    predictions: list[PredictionBody]


class Failure(msgspec.Struct, frozen=True):
    """The place of a bad image among several."""

    error: Problem


class ModelEntry(msgspec.Struct, frozen=True):
    """A model in the list."""

    name: str
    task: str
    variant: str
    classes: int


class ModelList(msgspec.Struct, frozen=True):
    """The models served; the first of a task is its default."""

    models: list[ModelEntry]


class Status(msgspec.Struct, frozen=True):
    """One word."""

    status: str


def encode(answer: Answer, model: str) -> tuple[bytes, str]:
    """An answer's body and media type."""
    if isinstance(answer.result, RenderedMask):
        return answer.result.content, answer.result.media_type
    assert isinstance(answer.result, Classification), "masks are rendered by the engine"
    return msgspec.json.encode(classified(answer.result, model)), JSON


def classified(found: Classification, model: str) -> ClassifyAnswer:
    """A result with its model's name."""
    predictions = [PredictionBody(p.label, p.class_id, p.score, p.synset) for p in found.predictions]
    return ClassifyAnswer(model, predictions)


def listed(card: Card) -> ModelEntry:
    """A card as one line."""
    return ModelEntry(card.name, card.task, card.variant, len(card.labels))


def server_timing(answers: list[Answer | ServiceError]) -> str:
    """The header of that name, in milliseconds; of several images, which run together, each stage's longest."""
    timings = [answer.timing for answer in answers if isinstance(answer, Answer)]
    longest = {stage: max((getattr(timing, stage) for timing in timings), default=0.0) for stage in STAGES}
    return ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in longest.items())
