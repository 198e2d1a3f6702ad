"""Messages between the processes: ZeroMQ over `ipc://`, headers by msgspec, arrays as raw bytes.

Two planes. Data: a frontend dials each worker and sends jobs. Control: every child dials the supervisor, reports, and
is worker_error. All sockets live in the private run-time folder.
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

Array = NDArray[np.generic]


class Message(msgspec.Struct, frozen=True, tag=True):
    """The root of all messages."""


class ArrayHeader(msgspec.Struct, frozen=True):
    """What raw bytes mean."""

    dtype: str
    shape: tuple[int, ...]


class Job(Message, frozen=True):
    """Frontend to worker: one sample; its pixels follow."""

    id: int
    model: str
    task: str
    params: bytes  # the task's own, which only the task decodes
    expires: float  # on the machine's monotonic clock, seconds
    upcoming: int  # further samples this frontend is preparing at the moment


class Abandon(Message, frozen=True):
    """Frontend to worker: nobody waits for that job any more."""

    id: int


class Running(Message, frozen=True):
    """Worker to frontend: these jobs are in the batch that begins; should the process die now, they may be why."""

    ids: tuple[int, ...]


class Done(Message, frozen=True):
    """Worker to frontend: the reduced output; its arrays follow."""

    id: int
    queue_s: float
    infer_s: float
    batch_size: int


class Failed(Message, frozen=True):
    """Worker to frontend: no output, and why, as the code of a ServiceError."""

    id: int
    code: str
    detail: str


class Heartbeat(Message, frozen=True):
    """Child to supervisor, regularly: alive; and for how long its device thread has been in one batch."""

    busy_s: float = 0.0


class DeviceChosen(Message, frozen=True):
    """Worker to supervisor, before it loads anything: the device that it uses, which its restarts must use as well."""

    device: str
    device_count: int  # devices of that kind on this machine


class Ready(Message, frozen=True):
    """Child to supervisor, once: serving."""

    cards: tuple[Card, ...] = ()


class Fatal(Message, frozen=True):
    """Child to supervisor: cannot start, and starting again would not help."""

    detail: str


WorkerState = Literal["loading", "ready", "recovering", "broken"]
"""Recovering: it was ready before and will be again soon. Broken: it dies before it gets ready, again and again."""


class WorkerInfo(msgspec.Struct, frozen=True):
    """One worker as a frontend needs to know it. A new process in the same place has a new address."""

    name: str
    address: str
    state: WorkerState


class WorkerStates(Message, frozen=True):
    """Supervisor to frontends, at every change: all workers and all models."""

    workers: tuple[WorkerInfo, ...]
    cards: tuple[Card, ...]


class FrontendGone(Message, frozen=True):
    """Supervisor to worker: this frontend has died, and nobody waits for its jobs."""

    name: str


class Stop(Message, frozen=True):
    """Supervisor to worker: nobody needs you any more."""


DataMessage = Job | Abandon | Running | Done | Failed
ControlMessage = Heartbeat | DeviceChosen | Ready | Fatal | WorkerStates | FrontendGone | Stop
AnyMessage = DataMessage | ControlMessage

SCHEME = "ipc://"

IDENTITY_SEPARATOR = "/"
"""Between the name of a frontend and the number of its connection, in the identity by which a worker knows a peer."""

ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(AnyMessage)
ARRAYS = msgspec.msgpack.Decoder(tuple[ArrayHeader, ...])


def address(folder: str | Path, name: str) -> str:
    """Where the process `name` listens."""
    return f"{SCHEME}{folder}/{name}"


def pack(message: Message, arrays: Sequence[Array]) -> list[Any]:
    """Frames: the message, the arrays' headers, the arrays."""
    headers = tuple(ArrayHeader(array.dtype.str, array.shape) for array in arrays)
    return [ENCODER.encode(message), ENCODER.encode(headers), *map(np.ascontiguousarray, arrays)]


def unpack(frames: Sequence[bytes]) -> tuple[AnyMessage, tuple[Array, ...]]:
    """The message and its arrays, which share the frames' memory."""
    message, headers, *blobs = frames
    pairs = zip(ARRAYS.decode(headers), blobs, strict=True)
    arrays = tuple(np.frombuffer(blob, header.dtype).reshape(header.shape) for header, blob in pairs)
    return DECODER.decode(message), arrays


class ServerSocket:
    """The end that many dial."""

    def __init__(self, at: str) -> None:
        self.socket, self.at = open_socket(zmq.ROUTER), at
        self.socket.bind(at)

    async def receive(self) -> tuple[bytes, AnyMessage, tuple[Array, ...]]:
        """The next message and who sent it."""
        peer, *frames = await self.socket.recv_multipart()
        return peer, *unpack(frames)

    async def send(self, peer: bytes, message: Message, arrays: Sequence[Array] = ()) -> None:
        """To one peer; dropped if it is gone."""
        await self.socket.send_multipart([peer, *pack(message, arrays)])

    def restore(self) -> None:
        """Listen again if the socket's file has been deleted while its folder exists; connections stay as they are."""
        path = Path(self.at.removeprefix(SCHEME))
        if not path.exists() and path.parent.exists():
            self.socket.bind(self.at)

    def close(self) -> None:
        """Drops what was not sent."""
        self.socket.close(linger=0)


class ClientSocket:
    """The end that dials one listener."""

    def __init__(self, at: str, *, name: str | None = None) -> None:
        self.socket = open_socket(zmq.DEALER)
        if name is not None:
            self.socket.setsockopt(zmq.IDENTITY, name.encode())
        self.socket.connect(at)

    async def receive(self) -> tuple[AnyMessage, tuple[Array, ...]]:
        """The next message."""
        return unpack(await self.socket.recv_multipart())

    async def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Queued until the listener is there."""
        await self.socket.send_multipart(pack(message, arrays))

    def close(self, *, linger_ms: int = 0) -> None:
        """Drops what was not sent in that time."""
        self.socket.close(linger=linger_ms)


def open_socket(kind: int) -> zmq.asyncio.Socket:
    """A socket without limits of its own: the engine bounds what is in flight."""
    socket = zmq.asyncio.Context.instance().socket(kind)
    socket.set_hwm(0)
    return socket
