"""Clients of each protocol, which send one image at a time and say what became of it.

`ask` returns OK, the code of the service's error, or a text that starts with LOST: the connection broke, or no answer
came in time.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import grpc

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc

OK, LOST = "ok", "lost"
PATIENCE_S = 60.0  # after which an answer counts as lost; twice the deadline of a request
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
INPUT = {"name": "image", "shape": [1], "datatype": "BYTES"}


@dataclass(frozen=True)
class Ask:
    """One image for one task."""

    image: bytes
    task: str = "classify"
    model: str = ""  # the task's default model


@dataclass(frozen=True)
class Address:
    """Where the service, or what is in front of it, listens."""

    http: str
    grpc: str
    key: str = ""  # of the API, which only clients of HTTP send


class Client(Protocol):
    """Sends one image at a time."""

    async def ask(self, ask: Ask) -> str:
        """Send an image and return what became of it."""

    async def close(self) -> None:
        """Close the connections."""


class Rest:
    """A client of REST, which keeps its connection or opens one for each request."""

    def __init__(self, address: Address, *, fresh: bool = False) -> None:
        connector = aiohttp.TCPConnector(limit=1, force_close=fresh)
        self.session = aiohttp.ClientSession(
            address.http,
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
            headers={"X-API-Key": address.key} if address.key else {},
        )

    async def ask(self, ask: Ask) -> str:
        path = f"/{ask.task}" + (f"?model={ask.model}" if ask.model else "")
        return await self.post(path, ask.image)

    async def post(self, path: str, body: bytes) -> str:
        try:
            async with self.session.post(path, data=body) as answer:
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"{LOST}: {error!r}"
        return OK if answer.status == 200 else self.refusal(answer, text)

    def refusal(self, answer: aiohttp.ClientResponse, text: bytes) -> str:
        """Return the code of an error. One that asks to be tried again must say when."""
        code = json.loads(text)["code"]
        return code if answer.status not in (429, 503) or "Retry-After" in answer.headers else f"{code} for ever"

    async def close(self) -> None:
        await self.session.close()


class V2(Rest):
    """A client of the Open Inference Protocol, which needs the name of a model."""

    async def ask(self, ask: Ask) -> str:
        image = base64.b64encode(ask.image).decode()
        body = json.dumps({"inputs": [{**INPUT, "data": [image]}]}).encode()
        return await self.post(f"/v2/models/{ask.model or MODELS[ask.task]}/infer", body)


MODELS = {
    "classify": "twins_svt_nano",
    "embed": "twins_svt_nano",
    "segment": "twins_svt_nano_fpn",
    "detect": "twins_svt_nano_maskrcnn",
}
"""The models that ship, which clients that must name one ask for."""


class Unary:
    """A client of gRPC, which sends each image in a call."""

    def __init__(self, address: Address) -> None:
        self.channel = grpc.aio.insecure_channel(address.grpc, options=OWN_CONNECTION)
        self.stub: Any = pb_grpc.TwinsStub(self.channel)

    async def ask(self, ask: Ask) -> str:
        try:
            await getattr(self.stub, ask.task.title())(message(ask), timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            return code_of(error)
        return OK

    async def close(self) -> None:
        await self.channel.close()


class Streaming(Unary):
    """A client of gRPC, which sends images over one stream for each task.

    A service that stops ends its streams with `unavailable` when it has answered each image that it has read. An image
    that got no answer on an open stream is therefore sent again, on a new one. A refusal on a new stream is final.
    """

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.calls: dict[str, Any] = {}

    async def ask(self, ask: Ask) -> str:
        was_open = ask.task in self.calls
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.exchange(ask)
        except TimeoutError:
            self.calls.pop(ask.task).cancel()
            return f"{LOST}: no answer in {PATIENCE_S} s"
        except grpc.aio.AioRpcError as error:
            del self.calls[ask.task]
            code = code_of(error)
        has_ended = code == "unavailable" or error_is_of_a_write(code)
        return await self.ask(ask) if was_open and has_ended else code

    async def exchange(self, ask: Ask) -> str:
        """Send an image over the open stream, or over a new one, and return its outcome."""
        if ask.task not in self.calls:
            self.calls[ask.task] = getattr(self.stub, f"{ask.task.title()}Stream")()
        call = self.calls[ask.task]
        with suppress(asyncio.InvalidStateError):  # the stream has ended
            await call.write(message(ask))
            if (item := await call.read()) is not grpc.aio.EOF:
                return item.error.code or OK
        trailing = await call.trailing_metadata()
        raise grpc.aio.AioRpcError(await call.code(), await call.initial_metadata(), trailing, await call.details())


class HangUp:
    """A client that closes its connection once it has sent its request."""

    def __init__(self, address: Address) -> None:
        self.host, _, self.port = address.http.rpartition("/")[2].partition(":")

    async def ask(self, ask: Ask) -> str:
        try:
            _, writer = await asyncio.open_connection(self.host, int(self.port))
            head = f"POST /{ask.task} HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {len(ask.image)}\r\n\r\n"
            writer.write(head.encode() + ask.image)
            await writer.drain()
            writer.close()
        except OSError as error:
            return f"{LOST}: {error!r}"
        return "cancelled"

    async def close(self) -> None:
        """Do nothing: no connection is kept."""


def error_is_of_a_write(code: str) -> bool:
    """Return whether the library reports that it wrote to a stream while the service ended it."""
    return code.startswith(f"{LOST}: {grpc.StatusCode.INTERNAL}")


def message(ask: Ask) -> Any:
    """Return the request of an image."""
    return getattr(pb, f"{ask.task.title()}Request")(image=ask.image, model=ask.model)


def code_of(error: grpc.aio.AioRpcError) -> str:
    """Return the code that the service gave an error. An error without one is the library's: there was no answer."""
    given = dict(error.trailing_metadata() or ())
    return str(given.get("twins-code") or f"{LOST}: {error.code()} {error.details()}")


CLIENTS: dict[str, Callable[[Address], Client]] = {
    "REST, kept connections": Rest,
    "REST, fresh connections": lambda address: Rest(address, fresh=True),
    "gRPC": Unary,
    "gRPC streams": Streaming,
    "V2": V2,
    "hang-ups": HangUp,
}
PATIENT = tuple(CLIENTS)[:-1]
"""The kinds that wait for their answers: one client of each is the smallest usual load."""
