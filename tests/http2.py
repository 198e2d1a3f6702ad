"""An HTTP/2 client of single frames, for what no library of gRPC would send."""

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TIMEOUT_S = 20.0
WIDE = 2**30  # a window that never closes
FRAME = 2**14  # bytes

Ended = ConnectionError  # the server has closed the connection


class Client:
    """A connection to a gRPC server."""

    def __init__(self, target: str, *, window: int = WIDE, preface: bool = True) -> None:
        host, _, port = target.rpartition(":")
        self.host = target
        self.socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        self.encoder, self.decoder = Encoder(), Decoder()
        self.received = bytearray()
        self.fields: dict[str, str] = {}  # the last headers
        self.silent = not preface
        if preface:
            self.socket.sendall(PREFACE)
            self.send(
                SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: window}),
                WindowUpdateFrame(0, window_increment=WIDE),
            )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *frames: Frame) -> None:
        """Send frames in one piece."""
        self.socket.sendall(b"".join(frame.serialize() for frame in frames))

    def headers(self, stream: int, path: str, *further: tuple[str, str]) -> HeadersFrame:
        """Return the headers of a call."""
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", self.host),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *further,
        ]
        return HeadersFrame(stream, self.encoder.encode(fields), flags=["END_HEADERS"])

    def call(self, stream: int, path: str, message: bytes = b"") -> None:
        """Send a whole call with one message."""
        self.send(self.headers(stream, path))
        self.message(stream, message, flags=["END_STREAM"])

    def message(self, stream: int, message: bytes, *, flags: Sequence[str] = ()) -> None:
        """Send a message that the window of the server takes. The flags are those of the last frame."""
        *parts, last = self.parts(stream, message)
        for flag in flags:
            last.flags.add(flag)
        self.send(*parts, last)

    def parts(self, stream: int, message: bytes) -> list[DataFrame]:
        """Return the frames of a message."""
        whole = struct.pack(">BI", 0, len(message)) + message
        return [DataFrame(stream, whole[first : first + FRAME]) for first in range(0, len(whole), FRAME)]

    def frames(self) -> Iterator[Frame]:
        """Yield what the server sends, and acknowledge its settings and pings. Raise Ended at the end."""
        while True:
            while len(self.received) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(bytes(self.received[:9])))
                if len(self.received) < 9 + length:
                    break
                frame.parse_body(memoryview(bytes(self.received[9 : 9 + length])))
                del self.received[: 9 + length]
                self.acknowledge(frame)
                if isinstance(frame, HeadersFrame):
                    self.fields = {str(name): str(value) for name, value in self.decoder.decode(frame.data)}
                yield frame
            if not (data := self.socket.recv(65536)):
                raise Ended("the server has closed the connection")
            self.received += data

    def acknowledge(self, frame: Frame) -> None:
        """Answer settings and pings as the protocol asks, unless the client said nothing of HTTP/2."""
        if self.silent:
            return
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.send(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))

    def wait_for(self, wanted: Callable[[Frame], bool]) -> Frame:
        """Return the first frame that is wanted."""
        return next(frame for frame in self.frames() if wanted(frame))

    def round_trip(self) -> None:
        """Return when the server has read everything that was sent."""
        self.send(PingFrame(0, b"12345678"))
        self.wait_for(lambda frame: isinstance(frame, PingFrame) and "ACK" in frame.flags)

    def ends(self) -> Iterator[tuple[int, str]]:
        """Yield the number and the `grpc-status` of each stream that ends; `reset` if it was reset before."""
        ended = set()
        for frame in self.frames():
            if isinstance(frame, HeadersFrame) and "END_STREAM" in frame.flags:
                ended.add(frame.stream_id)
                yield frame.stream_id, self.fields["grpc-status"]
            elif isinstance(frame, RstStreamFrame) and frame.stream_id not in ended:
                yield frame.stream_id, "reset"

    def statuses(self, count: int) -> dict[int, str]:
        """Return the statuses of the first streams that end, by their numbers."""
        return dict(islice(self.ends(), count))

    def final_statuses(self) -> dict[int, str]:
        """Return the statuses of all streams that end before the connection does."""
        found: dict[int, str] = {}
        with suppress(OSError):
            found.update(self.ends())  # one by one
        return found

    def wait_for_end(self) -> int | None:
        """Wait until the server closes the connection. Return the error code of its GOAWAY, if it sent one."""
        code = None
        try:
            for frame in self.frames():
                if isinstance(frame, GoAwayFrame):
                    code = frame.error_code
        except OSError:  # closed or reset
            return code
        raise AssertionError("frames never end")
