"""A request to run a model: from tensors to tensors, whatever the protocol."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from service.core.call import Answer, Call, Outcome
from service.core.engine import Engine
from service.core.ids import check_id
from service.errors import BadRequest, ServiceError
from service.oip import inputs, outputs
from service.oip.outputs import ERRORS, OutputTensor
from service.oip.parameters import known_to, options_of
from service.oip.tensors import Tensor
from twins.card import TOP_K_LIMIT, Card
from twins.tasks import TASKS

Parameter = bool | int | float | str
US = 1e-6


@dataclass(frozen=True)
class RequestedOutput:
    """An output that a request names."""

    name: str
    classes: int = 0  # how many classes as texts, of the classification extension; 0 for the tensor itself


@dataclass(frozen=True, eq=False)
class InferRequest:
    """A request to run a model."""

    model: str
    version: str
    id: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class InferResponse:
    """The answer to a request."""

    model: str
    version: str
    id: str
    outputs: tuple[Tensor, ...]
    answers: tuple[Answer | ServiceError, ...]  # of the images, for their times


async def infer(engine: Engine, request: InferRequest, outcome: Outcome) -> InferResponse:
    """Return the answer to a request. Raise ServiceError.

    An image that fails among several leaves the others unharmed: it has no values in the outputs, and the output
    `errors` says why. The error of a single image is that of the request.
    """
    check_id(request.id)
    card = engine.version(request.model, request.version)
    shorten_deadline(outcome, request.parameters)
    images, runs = inputs.images(request.inputs), choose(card, request.outputs)
    made: dict[str, Tensor] = {}
    answered: list[list[Answer | ServiceError]] = []
    for run in runs:
        parameters = request.parameters if run is runs[0] else known_to(TASKS[run.task], request.parameters)
        options = options_of(TASKS[run.task], parameters, needed(run.outputs, request.outputs))
        answers = await engine.predict(
            Call(run.task, images, options.run, card.key, priority=options.priority), outcome
        )
        if len(answers) == 1 and isinstance(answers[0], ServiceError):
            raise answers[0]
        answered.append(answers)
        made |= await asyncio.to_thread(tensors, answers, card, options.shown, run.outputs, request.outputs)
    names = [each.name for each in request.outputs]
    if len(images) > 1 or ERRORS in names:
        made[ERRORS] = outputs.errors([first_error(of_image) for of_image in zip(*answered, strict=True)])
    outcome.memory.count(sum(tensor.values.nbytes for tensor in made.values()))
    ordered = sorted(made.values(), key=lambda tensor: names.index(tensor.name) if tensor.name in names else len(names))
    return InferResponse(card.name, card.version, request.id, tuple(ordered), tuple(chain.from_iterable(answered)))


def first_error(of_image: Sequence[Answer | ServiceError]) -> Answer | ServiceError:
    """Return the first error among the answers of one image, or its first answer."""
    return next((answer for answer in of_image if isinstance(answer, ServiceError)), of_image[0])


def shorten_deadline(outcome: Outcome, parameters: Mapping[str, Parameter]) -> None:
    """Apply the parameter `timeout`, in microseconds from the arrival of the request. Raise BadRequest."""
    timeout = parameters.get("timeout", 0)
    if isinstance(timeout, bool) or not isinstance(timeout, int) or not 0 <= timeout < 2**63:
        raise BadRequest("the parameter timeout must be a whole number of microseconds")
    if timeout:
        outcome.deadline = min(outcome.deadline, outcome.caller.arrived + timeout * US)


@dataclass(frozen=True)
class Run:
    """A task that makes some of the requested outputs. It runs the model once for each image."""

    task: str
    outputs: list[OutputTensor]


def choose(card: Card, requested: Sequence[RequestedOutput]) -> list[Run]:
    """Return the runs that make the requested outputs, or the usual ones; that of the model's task comes first.

    Raise BadRequest for an output that the model does not have.
    """
    offered = outputs.offered(card)
    names = [each.name for each in requested if each.name != ERRORS]
    if unknown := [name for name in names if name not in offered]:
        raise BadRequest(f"{card.name} has no output {unknown[0][:40]!r}; it has {', '.join([*offered, ERRORS])}")
    if not names:
        names = [name for name, (task, output) in offered.items() if task == card.task and output.usual]
    tasks = sorted({offered[name][0] for name in names}, key=lambda task: task != card.task)
    return [Run(task, [offered[name][1] for name in names if offered[name][0] == task]) for task in tasks]


def needed(wanted: Sequence[OutputTensor], requested: Sequence[RequestedOutput]) -> Mapping[str, Any]:
    """Return the options that the outputs of a run need."""
    found = {name: value for output in wanted for name, value in (output.options or {}).items()}
    names = {output.name for output in wanted}
    as_texts = any(each.classes for each in requested if each.name in names)
    return {**found, "top_k": TOP_K_LIMIT} if as_texts else found


def tensors(
    answers: Sequence[Answer | ServiceError],
    card: Card,
    options: Any,
    wanted: Sequence[OutputTensor],
    requested: Sequence[RequestedOutput],
) -> dict[str, Tensor]:
    """Return the outputs of a run by name. Raise BadRequest."""
    results = [answer.result if isinstance(answer, Answer) else None for answer in answers]
    made = {output.name: output.tensor(results, card, options) for output in wanted}
    for each in requested:
        if each.classes and each.name in made:
            made[each.name] = outputs.classification(each.name, results, each.classes)
    return made
