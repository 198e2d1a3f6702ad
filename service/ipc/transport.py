"""Messages between the processes: ZeroMQ over `ipc://`, headers by msgspec, arrays as raw bytes.

There are two planes. On the data plane, each frontend connects to each worker and sends jobs. On the control plane,
each child process connects to the supervisor, sends reports, and receives news of the other processes. All sockets are
in the private run-time folder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import zmq
import zmq.asyncio
from numpy.typing import NDArray

from twins.card import Card
from twins.zoo.models import ModelReference

Array = NDArray[np.generic]


class Message(msgspec.Struct, frozen=True, tag=True):
    """The base class of all messages."""


class ArrayHeader(msgspec.Struct, frozen=True):
    """The type and shape of an array that is sent as raw bytes."""

    dtype: str
    shape: tuple[int, ...]


class Job(Message, frozen=True):
    """Frontend to worker: one sample. Its pixels follow."""

    id: int
    model: str
    task: str
    params: bytes  # the task's own, which only the task decodes
    expires: float  # on the machine's monotonic clock, seconds
    upcoming: int  # further samples this frontend is preparing at the moment


class Abandon(Message, frozen=True):
    """Frontend to worker: the answer to this job is no longer needed."""

    id: int


class Running(Message, frozen=True):
    """Worker to frontend: these jobs are in the batch that starts. If the process dies, one may be the cause."""

    ids: tuple[int, ...]


class Done(Message, frozen=True):
    """Worker to frontend: the reduced output of a job. Its arrays follow."""

    id: int
    queue_s: float
    infer_s: float
    batch_size: int
    waiting: dict[str, int] = {}  # samples of all frontends that wait in the worker, by model


class Failed(Message, frozen=True):
    """Worker to frontend: a job failed. `code` is the code of a ServiceError."""

    id: int
    code: str
    detail: str


class Heartbeat(Message, frozen=True):
    """Child to supervisor, at regular intervals: the process is alive. `busy_s` is the time in the current batch."""

    busy_s: float = 0.0


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
    """One version of a model on one worker. The version is the sha256 of the weights."""

    name: str
    version: str
    state: ModelState


class WorkerModels(Message, frozen=True):
    """Worker to supervisor, after every change: all models that it holds, and the cards of those that are ready."""

    models: tuple[ModelStatus, ...]
    cards: tuple[Card, ...]


class LoadModel(Message, frozen=True):
    """To the supervisor: serve a model. Supervisor to worker: load it."""

    reference: ModelReference


class UnloadModel(Message, frozen=True):
    """To the supervisor: withdraw a model when its calls are answered. Supervisor to worker: unload it."""

    name: str


class Released(Message, frozen=True):
    """Frontend to supervisor: all calls for a model that is unloading are answered."""

    name: str


class WorkerInfo(msgspec.Struct, frozen=True):
    """A worker, as frontends know it. A new process in the same process slot has a new address."""

    name: str
    address: str
    state: WorkerState
    models: tuple[ModelStatus, ...] = ()


class WorkerStates(Message, frozen=True):
    """Supervisor to frontends, after every change: all workers, and the cards of the models that accept calls."""

    workers: tuple[WorkerInfo, ...]
    cards: tuple[Card, ...]
    unloading: tuple[str, ...] = ()  # models that a frontend releases when its calls are answered


class FrontendGone(Message, frozen=True):
    """Supervisor to worker: this frontend has died, and its jobs are no longer needed."""

    name: str


class Stop(Message, frozen=True):
    """Supervisor to worker: shut down."""


DataMessage = Job | Abandon | Running | Done | Failed
ModelMessage = WorkerModels | LoadModel | UnloadModel | Released
ControlMessage = Heartbeat | DeviceChosen | Ready | Fatal | WorkerStates | FrontendGone | Stop | ModelMessage
AnyMessage = DataMessage | ControlMessage

SCHEME = "ipc://"

IDENTITY_SEPARATOR = "/"
"""Between the name of a frontend and the number of its connection, in the identity by which a worker knows a peer."""

ENCODER = msgspec.msgpack.Encoder(enc_hook=str)  # paths
DECODER = msgspec.msgpack.Decoder(AnyMessage, dec_hook=lambda kind, value: kind(value))
ARRAYS = msgspec.msgpack.Decoder(tuple[ArrayHeader, ...])


def address(folder: str | Path, name: str) -> str:
    """Return the address at which the process `name` listens."""
    return f"{SCHEME}{folder}/{name}"


def pack(message: Message, arrays: Sequence[Array]) -> list[Any]:
    """Return the frames of a message: the message, the headers of the arrays, and the arrays."""
    headers = tuple(ArrayHeader(array.dtype.str, array.shape) for array in arrays)
    return [ENCODER.encode(message), ENCODER.encode(headers), *map(np.ascontiguousarray, arrays)]


def unpack(frames: Sequence[bytes]) -> tuple[AnyMessage, tuple[Array, ...]]:
    """Return the message and its arrays, which share the memory of the frames."""
    message, headers, *blobs = frames
    pairs = zip(ARRAYS.decode(headers), blobs, strict=True)
    arrays = tuple(np.frombuffer(blob, header.dtype).reshape(header.shape) for header, blob in pairs)
    return DECODER.decode(message), arrays


class ServerSocket:
    """The listening end of a connection, with many peers."""

    def __init__(self, at: str) -> None:
        self.socket, self.at = open_socket(zmq.ROUTER), at
        self.socket.bind(at)

    async def receive(self) -> tuple[bytes, AnyMessage, tuple[Array, ...]]:
        """Return the identity of the sender and its next message."""
        peer, *frames = await self.socket.recv_multipart()
        return peer, *unpack(frames)

    async def send(self, peer: bytes, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Send a message to one peer. It is dropped if the peer is gone."""
        await self.socket.send_multipart([peer, *pack(message, arrays)])

    def restore(self) -> None:
        """Listen again if the socket's file has been deleted while its folder exists; connections stay as they are.

        Raise OSError.
        """
        path = Path(self.at.removeprefix(SCHEME))
        if not path.exists() and path.parent.is_dir():
            try:
                self.socket.bind(self.at)
            except zmq.ZMQError as error:  # not an OSError
                raise OSError(error.errno, str(error), str(path)) from error

    def close(self) -> None:
        """Close the socket and drop unsent messages."""
        self.socket.close(linger=0)


class ClientSocket:
    """The connecting end of a connection, with one peer."""

    def __init__(self, at: str, *, name: str | None = None) -> None:
        self.socket = open_socket(zmq.DEALER)
        if name is not None:
            self.socket.setsockopt(zmq.IDENTITY, name.encode())
        self.socket.connect(at)

    async def receive(self) -> tuple[AnyMessage, tuple[Array, ...]]:
        """Return the next message."""
        return unpack(await self.socket.recv_multipart())

    async def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Send a message. It is queued until the peer listens."""
        await self.socket.send_multipart(pack(message, arrays))

    def close(self, *, linger_ms: int = 0) -> None:
        """Close the socket and drop messages that are not sent within `linger_ms`."""
        self.socket.close(linger=linger_ms)


def open_socket(kind: int) -> zmq.asyncio.Socket:
    """Open a socket without a queue limit, since the engine limits what is in flight."""
    socket = zmq.asyncio.Context.instance().socket(kind)
    socket.set_hwm(0)
    return socket
