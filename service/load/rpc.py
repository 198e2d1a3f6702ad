"""Send images over gRPC, each in a unary call."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import grpc
import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message

from service.load.target import SUCCEEDED, RequestPlan
from service.pb.twins.v1 import twins_pb2, twins_pb2_grpc
from twins.errors import BadOption

CHANNELS = 16  # each with a connection of its own, so that all frontends get requests
MAX_ANSWER_BYTES = 2**30  # masks exceed the 4 MiB that clients accept by default

REQUESTS: Mapping[str, type[Message]] = {
    "classify": twins_pb2.ClassifyRequest,
    "segment": twins_pb2.SegmentRequest,
    "detect": twins_pb2.DetectRequest,
    "embed": twins_pb2.EmbedRequest,
}
"""The message of each task."""


class RpcTarget:
    """A method of the service Twins, over several channels in turn."""

    def __init__(self, plan: RequestPlan) -> None:
        """Raise BadOption if the URL names no task, or if an option is none of the task."""
        parts = urlsplit(plan.url)
        task = parts.path.strip("/").lower()
        if task not in REQUESTS:
            raise BadOption(f"{plan.url}: the path must be the name of a task: {', '.join(REQUESTS)}")
        self.request = REQUESTS[task](**fields(task, plan.options))
        self.timeout_s = min(plan.timeout_s, plan.deadline_s or plan.timeout_s)
        self.metadata = (("authorization", f"Bearer {plan.api_key}"),) if plan.api_key else ()
        options = [("grpc.max_receive_message_length", MAX_ANSWER_BYTES), ("grpc.use_local_subchannel_pool", 1)]
        connect = partial(grpc.aio.insecure_channel, parts.netloc, options=options)
        if parts.scheme == "grpcs":
            credentials = grpc.ssl_channel_credentials(*plan.tls.contents())
            connect = partial(grpc.aio.secure_channel, parts.netloc, credentials, options=options)
        self.channels = [connect() for _ in range(CHANNELS)]
        self.methods = itertools.cycle([method_of(channel, task) for channel in self.channels])

    async def send(self, image: bytes) -> str:
        """Send one image and read the whole answer. Return SUCCEEDED or the code of the error."""
        message: type[Any] = type(self.request)
        request = message(image=image)
        request.MergeFrom(self.request)
        try:
            await next(self.methods)(request, timeout=self.timeout_s, metadata=self.metadata)
        except grpc.aio.AioRpcError as error:
            trailing: Any = error.trailing_metadata()  # pairs, as the annotations of grpc do not say
            given = dict(trailing or ())
            return str(given.get("twins-code", error.code().name.lower()))  # absent if the service did not answer
        return SUCCEEDED

    async def close(self) -> None:
        """Close the channels."""
        for channel in self.channels:
            await channel.close(None)


def method_of(channel: grpc.aio.Channel, task: str) -> Callable[..., Any]:
    """Return the method of a task over a channel."""
    stub: Any = twins_pb2_grpc.TwinsStub(channel)  # type: ignore[no-untyped-call]
    method: Callable[..., Any] = getattr(stub, task.capitalize())
    return method


def fields(task: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of the task's message that the options set. Raise BadOption."""
    message = REQUESTS[task]()
    try:
        json_format.ParseDict({name: json_value(text) for name, text in options.items()}, message)
    except json_format.ParseError as error:
        raise BadOption(f"--option: {error}") from error
    return {field.name: value for field, value in message.ListFields()}


def json_value(text: str) -> Any:
    """Return a value as JSON gives it; text that is not JSON is a string."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
