"""The steps that all interfaces share: read the body, run the images, and encode the answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.core.call import Answer, Call, Outcome
from service.core.engine import Engine
from service.errors import BadRequest, ServiceError
from service.rest import scope
from service.rest.body import Image, check_encoding, check_length, content_type, read
from service.rest.caller import caller_of
from service.rest.multipart import read_parts
from service.rest.peer import PEER
from service.rest.wire import server_timing
from twins.card import Card
from twins.render.renderer import Renderer
from twins.tasks import TASKS
from twins.tasks.options import declared


@dataclass(frozen=True)
class Content:
    """The images of a request, and the options that it gives for the task, already of their types."""

    images: tuple[Image, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exchange:
    """A request on its way to its answer."""

    request: Request
    engine: Engine
    outcome: Outcome

    async def read_body(self) -> bytes:
        """Return the body of the request, within the service's limits. Raise ServiceError."""
        await self.engine.check_room(self.outcome)  # before the body is read, so that a refusal costs next to nothing
        headers, most = scope.fields(self.request), self.engine.settings.max_body_bytes
        check_encoding(headers)
        check_length(headers, most)
        body = await read(self.request, most, self.outcome.deadline, self.outcome.memory.reserve)
        if not body:
            raise BadRequest("the request has no image")
        return body

    async def read_image(self, part: str) -> Image:
        """Return the image of the request: the file in a part of a form, or the body itself. Raise ServiceError."""
        body = await self.read_body()
        media_type, parameters = content_type(scope.fields(self.request))
        if media_type != b"multipart/form-data":
            return body
        header = scope.fields(self.request)["content-type"]
        parts = await read_parts(body, header, parameters, self.engine.settings.max_images)
        files = [each.content for each in parts if each.name == part or isinstance(each.content, bytes)]
        if len(files) != 1 or not isinstance(files[0], bytes):
            raise BadRequest(f"the form must have one file, in a part named {part!r}")
        return files[0]

    async def run(self, card: Card, renderer: Renderer, content: Content) -> list[Answer | ServiceError]:
        """Return the answer or the error of each image. Raise ServiceError."""
        call = Call(card.task, content.images, task_options(card, content.options), card.key, renderer)
        with self.request.scope["state"][PEER].waits():
            return await self.engine.predict(call, self.outcome)


@contextmanager
def opened(request: Request, engine: Engine) -> Iterator[Exchange]:
    """Cover a request from its headers to its answer; count and log it once. Raise only ServiceError."""
    with engine.call(caller_of(request, engine), "infer") as outcome:
        yield Exchange(request, engine, outcome)


def task_options(card: Card, given: dict[str, Any]) -> Any:
    """Return the options of a model's task. Raise BadRequest for one that the task does not have, BadOption."""
    task = TASKS[card.task]
    known = declared(task.options)
    if unknown := sorted(given.keys() - known.keys()):
        raise BadRequest(f"no parameter is called {unknown[0][:40]!r}; {task.name} has {', '.join(known)}")
    for name, value in given.items():
        kind = known[name].kind
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise BadRequest(f"the parameter {name} must be of the type {kind.__name__}")
    return task.options(**given)


def one(answers: list[Answer | ServiceError]) -> Response:
    """Return the response with the answer of a single image. Raise its error."""
    (answer,) = answers
    if isinstance(answer, ServiceError):
        raise answer
    headers = {"Server-Timing": server_timing(answers)}
    return Response(answer.result.content, 200, headers, answer.result.media_type)


def is_json(request: Request) -> bool:
    """Return whether a request says that its body is JSON."""
    media_type, _ = content_type(scope.fields(request))
    return media_type == b"application/json"


def decode(body: bytes, form: type[Any]) -> Any:
    """Return a body in JSON. Raise BadRequest."""
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the JSON body: {error}") from error
