"""The types that a protocol and the engine exchange."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from service.access.address import network_of, parse
from service.core.batcher import USUAL_PRIORITY
from service.core.inputs import Input
from service.core.memory import MemoryAccount
from service.core.orders import Requested
from service.core.recorder import CallRecorder, Timing
from service.errors import ServiceError
from service.tracing.context import TraceContext
from twins.render.renderer import Renderer
from twins.tasks.options import Options

Protocol = Literal["http", "grpc"]


@dataclass(frozen=True)
class Caller:
    """The client that sends a request."""

    request_id: str
    protocol: Protocol
    arrived: float  # on the event loop's clock
    timeout_s: float | None = None  # the client's own timeout, from the arrival on; NaN if it cannot be read
    key: str | None = None
    address: str = ""  # of the client, behind trusted proxies
    path: str = ""  # of the route or the method
    report: "Callable[[Outcome], None] | None" = None  # gets the outcome instead of the log
    trace: TraceContext | None = None  # the span of the request


@dataclass(frozen=True)
class Call:
    """A request to run images through one model."""

    task: str
    images: tuple[Input | ServiceError, ...]  # an error stands for an image that could not be read from the request
    options: Options
    model: str | None = None  # None: the first model that is served for the task
    renderer: Renderer | None = None  # makes the answer of each result; None: the answer is the result itself
    media_type: str = ""  # for the renderer; empty: its default
    priority: int = USUAL_PRIORITY  # 1 is the highest


@dataclass(frozen=True)
class Answer:
    """One image's result."""

    result: Any  # `RenderOutput` if the call has a renderer, else the task's result
    timing: Timing


@dataclass
class Outcome:
    """The values of a call that are counted and logged. They are filled in while the call runs."""

    caller: Caller
    deadline: float
    memory: MemoryAccount
    model: str = ""
    images: int = 0
    image_codes: Counter[str] = field(default_factory=Counter)  # of the images that have an answer or an error
    code: str = "ok"
    key_name: str = ""
    order: Requested | None = None  # of a call that changes what is served
    status: str = ""  # in the protocol
    bytes_in: int = 0
    bytes_out: int = 0
    recorder: CallRecorder = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = CallRecorder(self.caller.trace, self.caller.arrived)

    @property
    def client(self) -> str:
        """Return what stands for the client in its quotas: the name of its key, or its network."""
        if self.key_name:
            return self.key_name
        address = parse(self.caller.address)
        return self.caller.address if address is None else network_of(address)
