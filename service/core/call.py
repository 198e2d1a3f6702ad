"""What a protocol hands to the engine, and what comes back."""

from dataclasses import dataclass
from typing import Any, Literal

from service.errors import ServiceError
from twins.render.formats import RenderOptions
from twins.tasks.options import Options

Protocol = Literal["http", "grpc"]


@dataclass(frozen=True)
class Caller:
    """Who asks, and how."""

    request_id: str
    protocol: Protocol
    arrived: float  # on the event loop's clock
    timeout_s: float | None = None  # the client's own deadline, counted from then; nan: one that makes no sense
    key: str | None = None


@dataclass(frozen=True)
class Call:
    """What is asked: images through one model."""

    task: str
    images: tuple[bytes | ServiceError, ...]  # an error stands for an image that could not be read from the request
    options: Options
    model: str | None = None  # None: the first one served for that task
    render_options: RenderOptions | None = None  # how a mask is to be handed out; None: as it is


@dataclass(frozen=True)
class Timing:
    """Where an image's time went, in seconds."""

    decode: float
    preprocess: float
    queue: float
    infer: float
    postprocess: float


@dataclass(frozen=True)
class Answer:
    """One image's result."""

    result: Any  # the task's result; a RenderedMask where the call has render_options
    timing: Timing


@dataclass
class Outcome:
    """What is to be counted and logged of a call, gathered on its way."""

    caller: Caller
    deadline: float
    model: str = ""
    images: int = 0
    reserved_bytes: int = 0
    code: str = "ok"
