"""Exchanges messages with arrays over ZeroMQ: headers by msgspec, arrays as raw bytes.

Sending never waits, because the queues of the sockets have no limit: the engine limits what is in flight. The sockets
belong to the event loop that runs when they are opened.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from service.ipc.messages import SCHEME, AnyMessage, Message

Array = NDArray[np.generic]

INLINE_BYTES = 1024  # a smaller array is part of the first frame, which costs less than a frame of its own
COPIED_BYTES = 8192  # of a frame that is received; the memory of a larger one is used as it is
MESSAGES_IN_A_ROW = 32  # that are received before other tasks run
POLLIN = int(zmq.POLLIN)  # comparing with the enumeration costs twenty times as much


class ArrayHeader(msgspec.Struct, frozen=True, array_like=True):
    """The type and shape of an array, and its bytes unless they are a frame of their own."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | None = None


ENCODER = msgspec.msgpack.Encoder(enc_hook=str)  # paths
DECODER = msgspec.msgpack.Decoder(tuple[AnyMessage, tuple[ArrayHeader, ...]], dec_hook=lambda kind, value: kind(value))


def pack(message: Message, arrays: Sequence[Array] = ()) -> list[Any]:
    """Return the frames of a message: the message with the headers of the arrays, and the arrays that are not small."""
    headers, frames = [], []
    for array in arrays:
        small = array.nbytes <= INLINE_BYTES
        headers.append(ArrayHeader(array.dtype.str, array.shape, array.tobytes() if small else None))
        if not small:
            frames.append(np.ascontiguousarray(array))
    return [ENCODER.encode((message, headers)), *frames]


def unpack(frames: Sequence[Any]) -> tuple[AnyMessage, tuple[Array, ...]]:
    """Return the message and its arrays, which share the memory of the frames."""
    first, *others = frames
    message, headers = DECODER.decode(first)
    blobs = iter(others)
    arrays = tuple(
        np.frombuffer(next(blobs) if header.data is None else header.data, header.dtype).reshape(header.shape)
        for header in headers
    )
    return message, arrays


class Socket:
    """A ZeroMQ socket in an event loop.

    ZeroMQ's file descriptor becomes readable when the socket's events may have changed, and stays so until they are
    read. Any call on the socket reads them, also one that sends, so that `wake` must follow it.
    """

    def __init__(self, kind: int) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
        self.socket.set_hwm(0)
        self.loop, self.descriptor = asyncio.get_running_loop(), cast(int, self.socket.getsockopt(zmq.FD))
        self.loop.add_reader(self.descriptor, self.wake)
        self.waiting: asyncio.Future[None] | None = None  # of the one task that receives
        self.in_a_row = 0

    @property
    def closed(self) -> bool:
        """Return whether the socket is closed."""
        return self.socket.closed

    def wake(self) -> None:
        """Resume the task that receives if there is a message."""
        if cast(int, self.socket.getsockopt(zmq.EVENTS)) & POLLIN and self.waiting and not self.waiting.done():
            self.waiting.set_result(None)

    async def receive_frames(self) -> list[Any]:
        """Return the frames of the next message."""
        self.in_a_row += 1
        if self.in_a_row >= MESSAGES_IN_A_ROW:
            self.in_a_row = 0
            await asyncio.sleep(0)
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                self.in_a_row = 0
                self.waiting = self.loop.create_future()
                self.wake()
                await self.waiting
            else:
                return [frame.buffer if len(frame) > COPIED_BYTES else frame.bytes for frame in frames]

    def send_frames(self, frames: Sequence[Any]) -> None:
        """Send the frames of a message."""
        self.socket.send_multipart(frames, zmq.NOBLOCK)
        self.wake()

    def close(self, *, linger_ms: int = 0) -> None:
        """Close the socket and drop messages that are not sent within `linger_ms`."""
        if not self.socket.closed:
            self.loop.remove_reader(self.descriptor)
            self.socket.close(linger=linger_ms)


class ServerSocket(Socket):
    """The listening end of a connection, with many peers."""

    def __init__(self, at: str) -> None:
        super().__init__(zmq.ROUTER)
        self.at = at
        self.socket.bind(at)

    async def receive(self) -> tuple[bytes, AnyMessage, tuple[Array, ...]]:
        """Return the identity of the sender and its next message."""
        peer, *frames = await self.receive_frames()
        return peer, *unpack(frames)

    def send(self, peer: bytes, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Send a message to one peer. It is dropped if the peer is gone."""
        self.send_frames([peer, *pack(message, arrays)])

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
            self.wake()


class ClientSocket(Socket):
    """The connecting end of a connection, with one peer."""

    def __init__(self, at: str, *, name: str | None = None) -> None:
        super().__init__(zmq.DEALER)
        if name is not None:
            self.socket.setsockopt(zmq.IDENTITY, name.encode())
        self.socket.connect(at)

    async def receive(self) -> tuple[AnyMessage, tuple[Array, ...]]:
        """Return the next message."""
        return unpack(await self.receive_frames())

    def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Send a message. It is queued until the peer listens."""
        self.send_frames(pack(message, arrays))
