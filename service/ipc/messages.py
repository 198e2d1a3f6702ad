"""The messages between the processes, and the addresses at which they are received.

There are two planes. On the data plane, each frontend connects to each worker and sends jobs. On the control plane,
each child process connects to the supervisor, sends reports, and receives news of the other processes. All sockets are
in the private run-time folder.
"""

from pathlib import Path
from typing import Literal

import msgspec

from service.core.orders import Action, IndexEntry
from twins.card import Card
from twins.zoo.models import ModelReference


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The base class of all messages."""


class Job(Message, frozen=True):
    """Frontend to worker: one sample. Its pixels follow."""

    id: int
    model: str  # its key
    task: str
    params: bytes  # the task's own, which only the task decodes
    expires: float  # on the machine's monotonic clock, seconds
    upcoming: int  # further samples this frontend is preparing at the moment
    priority: int
    alone: bool = False  # no other job may be on the device, since a worker died with this one there
    traceparent: str = ""  # the span of the image, if its request is part of a trace


class Abandon(Message, frozen=True):
    """Frontend to worker: the answer to this job is no longer needed."""

    id: int


class Running(Message, frozen=True):
    """Worker to frontend: these jobs are in the batch that starts. If the process dies, one may be the cause."""

    ids: tuple[int, ...]


class Result(msgspec.Struct, frozen=True, array_like=True):
    """The times of a job that is done, and the number of its arrays."""

    id: int
    queue_s: float
    infer_s: float
    batch_size: int
    arrays: int
    began: float = 0.0  # when the batch began on the device, on the machine's monotonic clock
    batch: str = ""  # the span of the batch as `traceparent` has it, if it is recorded


class Done(Message, frozen=True):
    """Worker to frontend: the reduced outputs of its jobs in a batch. The arrays of all jobs follow, in order."""

    results: tuple[Result, ...]
    waiting: dict[str, int] = {}  # samples of all frontends that wait in the worker, by model


class Failed(Message, frozen=True):
    """Worker to frontend: a job failed. `code` is the code of a ServiceError."""

    id: int
    code: str
    detail: str


class Heartbeat(Message, frozen=True):
    """Child to supervisor, at regular intervals: the process is alive. A worker also reports on its batches."""

    busy_s: float = 0.0  # in the current batch
    succeeded: float = 0.0  # when a batch last succeeded, on the machine's monotonic clock, seconds
    canary_failed: bool = False


class DeviceChosen(Message, frozen=True):
    """Worker to supervisor, before it loads anything: the device that it uses, which its restarts must use as well."""

    device: str
    device_count: int  # devices of that kind on this machine


class Ready(Message, frozen=True):
    """Child to supervisor, once: the process serves."""

    cards: tuple[Card, ...] = ()


class Fatal(Message, frozen=True):
    """Child to supervisor: the process cannot start, and a restart would not help."""

    detail: str


WorkerState = Literal["loading", "ready", "recovering", "broken"]
"""A recovering worker was ready before and is starting again. A broken worker keeps dying before it becomes ready."""


ModelState = Literal["loading", "ready", "failed", "unloading"]
"""Of one model on one worker. A model that is unloading still answers the calls that were accepted before."""


class ModelStatus(msgspec.Struct, frozen=True):
    """A model on one worker."""

    key: str
    sha256: str  # of its weights
    state: ModelState
    detail: str = ""  # why it failed


class WorkerModels(Message, frozen=True):
    """Worker to supervisor, after every change: all models that it holds, and the cards of those that are ready."""

    models: tuple[ModelStatus, ...]
    cards: tuple[Card, ...]


class LoadModel(Message, frozen=True):
    """To the supervisor: serve a model. Supervisor to worker: load it."""

    reference: ModelReference


class UnloadModel(Message, frozen=True):
    """To the supervisor: withdraw a model when its calls are answered. Supervisor to worker: unload it."""

    key: str


class Released(Message, frozen=True):
    """Frontend to supervisor: all calls for a model that is unloading are answered."""

    key: str


class ModelOrder(Message, frozen=True):
    """Frontend to supervisor: an operator's order."""

    id: int
    action: Action
    name: str = ""
    version: str = ""


class ModelOrderDone(Message, frozen=True):
    """Supervisor to frontend: an order is carried out, or has failed with the code of a ServiceError."""

    id: int
    entries: tuple[IndexEntry, ...] = ()
    code: str = ""
    detail: str = ""


class WorkerInfo(msgspec.Struct, frozen=True):
    """A worker, as frontends know it. A new process in the same process slot has a new address."""

    name: str
    address: str
    state: WorkerState
    models: tuple[ModelStatus, ...] = ()
    problem: str = ""  # why a worker whose process is ready does not count as ready


class WorkerStates(Message, frozen=True):
    """Supervisor to frontends, after every change: all workers, and the cards of the models that accept calls."""

    workers: tuple[WorkerInfo, ...]
    cards: tuple[Card, ...]
    unloading: tuple[str, ...] = ()  # keys of models that a frontend releases when its calls are answered


class FrontendGone(Message, frozen=True):
    """Supervisor to worker: this frontend has died, and its jobs are no longer needed."""

    name: str


class Stop(Message, frozen=True):
    """Supervisor to worker: shut down."""


DataMessage = Job | Abandon | Running | Done | Failed
ModelMessage = WorkerModels | LoadModel | UnloadModel | Released | ModelOrder | ModelOrderDone
ControlMessage = Heartbeat | DeviceChosen | Ready | Fatal | WorkerStates | FrontendGone | Stop | ModelMessage
AnyMessage = DataMessage | ControlMessage

SCHEME = "ipc://"

IDENTITY_SEPARATOR = "/"
"""Between the name of a frontend and the number of its connection, in the identity by which a worker knows a peer."""


def address(folder: str | Path, name: str) -> str:
    """Return the address at which the process `name` listens."""
    return f"{SCHEME}{folder}/{name}"
