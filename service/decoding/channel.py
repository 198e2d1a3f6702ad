"""What a frontend and a decoder process send each other: a header in msgpack, and bytes whose number it says.

A frontend does not trust its decoder process, in which a damaged image may have run any code. Headers are decoded to
the types below and never pickled, and no buffer is larger than the limits of images and samples allow.
"""

import math
import socket
import struct
import time
from collections.abc import Iterator
from typing import TypeVar, cast

import msgspec
import numpy as np
from PIL import Image

from service.decoding.preparation import Preparation, Prepared
from twins.card import Card
from twins.images.decode import DecodedImage, Limits
from twins.images.input_image import Size
from twins.tasks import TASKS, decode_params, encode_params
from twins.tasks.sample import Params, Sample

LENGTH = struct.Struct("!I")
MAX_HEADER_BYTES = 2**20
MAX_SAMPLE_BYTES = 2**28
STRIP_PIXELS = 2**18  # of an image, of which a copy is sent at a time
BUFFER_BYTES = 2**20  # of the socket: fewer switches between the processes while an image passes through it


class Job(msgspec.Struct, frozen=True):
    """Frontend to decoder: an image to prepare. Its file follows."""

    task: str
    card: Card
    options: bytes  # the task's own, encoded
    limits: Limits
    exif_orientation: bool
    reduces: bool
    shown: bool
    size_bytes: int  # of the file


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Decoder to frontend, once: the process takes jobs."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """Decoder to frontend: the sample, whose pixels follow, and behind them those of an image that is shown."""

    height: int
    width: int
    params: bytes  # the task's own, encoded
    image_size: Size | None  # (width, height)
    preprocess_s: float
    began: float = 0.0  # when the process had the whole job, on the machine's monotonic clock
    took_s: float = 0.0  # from then until the sample was ready


class Refused(msgspec.Struct, frozen=True, tag=True):
    """Decoder to frontend: the image cannot be used. `kind` is the name of an ImageError."""

    kind: str
    detail: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Decoder to frontend: an error that is not the image's fault."""

    detail: str


Reply = Done | Refused | Failed
ANY_REPLY = cast("type[Reply]", Reply)
Header = TypeVar("Header")


class BadReply(Exception):
    """A decoder process sent what no decoder sends."""


class Channel:
    """One end of the socket between a frontend and a decoder process.

    Every method raises EOFError or OSError when the other process ends, and TimeoutError at the time limit.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.deadline: float | None = None  # of the monotonic clock
        for direction in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, direction, BUFFER_BYTES)

    def limit(self, seconds: float) -> None:
        """End everything that follows after so many seconds."""
        self.deadline = time.monotonic() + seconds

    def send(self, header: object) -> None:
        """Send a header."""
        encoded = msgspec.msgpack.encode(header)
        self.send_bytes(LENGTH.pack(len(encoded)) + encoded)

    def send_bytes(self, data: bytes | memoryview) -> None:
        """Send bytes whose number the last header says."""
        self.wait_at_most()
        self.connection.sendall(data)

    def receive(self, kind: type[Header]) -> Header:
        """Return a header. Raise BadReply for any other bytes."""
        (size,) = LENGTH.unpack(self.receive_bytes(LENGTH.size))
        if size > MAX_HEADER_BYTES:
            raise BadReply(f"a header of {size} bytes")
        try:
            return msgspec.msgpack.decode(self.receive_bytes(size), type=kind)
        except msgspec.MsgspecError as error:
            raise BadReply(str(error)) from error

    def receive_bytes(self, size: int) -> bytearray:
        """Return so many bytes."""
        buffer = bytearray(size)
        self.receive_into(memoryview(buffer))
        return buffer

    def receive_into(self, left: memoryview) -> None:
        """Receive as many bytes as a buffer has."""
        while left:
            self.wait_at_most()
            if not (count := self.connection.recv_into(left)):
                raise EOFError
            left = left[count:]

    def wait_at_most(self) -> None:
        """Set the timeout of the next operation of the socket, which ends at the time limit."""
        if self.deadline is not None:
            left_s = self.deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self.connection.settimeout(left_s)

    # ------------------------------------------------------------------ the two sides of a job

    def send_job(self, data: bytes, how: Preparation) -> None:
        """Send a file with what to do with it."""
        options = msgspec.msgpack.encode(how.options)
        limits = how.limits
        self.send(Job(how.task, how.card, options, limits, how.exif_orientation, how.reduces, how.shown, len(data)))
        self.send_bytes(data)

    def receive_job(self) -> tuple[bytes, Preparation]:
        """Return a file and what to do with it."""
        job = self.receive(Job)
        options = msgspec.msgpack.decode(job.options, type=TASKS[job.task].options)
        how = Preparation(job.task, job.card, options, job.limits, job.exif_orientation, job.reduces, job.shown)
        return bytes(self.receive_bytes(job.size_bytes)), how

    def send_prepared(self, found: Prepared, began: float) -> None:
        """Send a sample, and the image if it is shown. A copy of its pixels is never larger than a strip."""
        height, width, _ = found.sample.pixels.shape
        size = found.image.size if found.image else None
        params = encode_params(found.sample.params)
        self.send(Done(height, width, params, size, found.preprocess_s, began, time.monotonic() - began))
        self.send_bytes(np.ascontiguousarray(found.sample.pixels).data)
        if found.image:
            for box in boxes(found.image.size):
                self.send_bytes(found.image.crop(box).tobytes())

    def receive_prepared(self, done: Done, how: Preparation) -> Prepared:
        """Return what follows the header of a sample. Raise BadReply if it is not what was asked for."""
        sides = (done.height, done.width, *(done.image_size or ()))
        if min(sides) < 1 or 3 * done.height * done.width > MAX_SAMPLE_BYTES:
            raise BadReply(f"a sample of {done.width}x{done.height} pixels")
        if not 0 <= done.preprocess_s < math.inf:
            raise BadReply(f"a time of {done.preprocess_s} s")
        if (done.image_size is not None) != how.shown:
            raise BadReply("an image that is not shown, or none that is")
        pixels = np.empty((done.height, done.width, 3), np.uint8)
        self.receive_into(pixels.data.cast("B"))
        image = self.receive_image(done.image_size, how.limits) if done.image_size else None
        return Prepared(Sample(pixels, params_of(how.task, done.params)), image, 0.0, done.preprocess_s, done.began)

    def receive_image(self, size: Size, limits: Limits) -> DecodedImage:
        """Return the pixels of an image. Raise BadReply if they exceed the limits."""
        if math.prod(size) > limits.max_pixels:
            raise BadReply(f"an image of {size[0]}x{size[1]} pixels")
        image = Image.new("RGB", size)
        for box in boxes(size):
            left, top, right, bottom = box
            strip = (right - left, bottom - top)
            image.paste(Image.frombytes("RGB", strip, self.receive_bytes(3 * math.prod(strip))), box)
        return image


def boxes(size: Size) -> Iterator[tuple[int, int, int, int]]:
    """Yield the strips of an image as Pillow's boxes: left, top, right, bottom."""
    width, height = size
    rows = max(1, STRIP_PIXELS // width)
    return ((0, top, width, min(top + rows, height)) for top in range(0, height, rows))


def params_of(task: str, data: bytes) -> Params:
    """Return the parameters of a sample. Raise BadReply for any other bytes."""
    try:
        return decode_params(task, data)
    except msgspec.MsgspecError as error:
        raise BadReply(str(error)) from error
