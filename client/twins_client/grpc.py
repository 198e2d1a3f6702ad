"""The clients over gRPC. One connection carries all calls."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import numpy as np

from twins_client.errors import TwinsError
from twins_client.http import TIMEOUT_S
from twins_client.images import Image, encoded
from twins_client.methods import AsyncMethods, Methods
from twins_client.pb.twins.v1 import twins_pb2 as pb
from twins_client.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from twins_client.results import (
    Classification,
    Detection,
    Detections,
    Embedding,
    Prediction,
    Region,
    Result,
    Segmentation,
)
from twins_client.retry import Retry, repeated, repeated_async
from twins_client.tls import Tls

LARGEST = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
REQUESTS: Mapping[str, Callable[..., Any]] = {
    "classify": pb.ClassifyRequest,
    "segment": lambda **fields: pb.SegmentRequest(format=pb.MASK_FORMAT_RLE, **fields),
    "detect": pb.DetectRequest,
    "embed": pb.EmbedRequest,
}
METHODS = {"classify": "Classify", "segment": "Segment", "detect": "Detect", "embed": "Embed"}


def request(task: str, image: bytes, options: Mapping[str, Any]) -> Any:
    """Return the message of a request. None stands for the service's default; classes are names or ids."""
    given = {name: value for name, value in options.items() if value is not None}
    if "classes" in given:
        given["classes"] = list(map(str, given["classes"]))
    return REQUESTS[task](image=image, **given)


def classification(answer: pb.ClassifyResponse) -> Classification:
    """Return the result in a message."""
    found = (Prediction(each.label, each.class_id, each.score) for each in answer.predictions)
    return Classification(answer.model, tuple(found))


def segmentation(answer: pb.SegmentResponse) -> Segmentation:
    """Return the result in a message."""
    size = (answer.height, answer.width)
    regions = (
        Region(
            *(each.label, each.class_id, each.colour, each.pixels, each.share),
            box=(each.box.left, each.box.top, each.box.right, each.box.bottom),
            size=size,
            counts=each.rle,
        )
        for each in answer.classes
    )
    return Segmentation(answer.model, size, tuple(regions))


def detections(answer: pb.DetectResponse) -> Detections:
    """Return the result in a message."""
    size = (answer.height, answer.width)
    found = (
        Detection(
            *(each.label, each.class_id, each.score),
            box=(each.box.left, each.box.top, each.box.right, each.box.bottom),
            size=size,
            counts=each.rle,
        )
        for each in answer.detections
    )
    return Detections(answer.model, size, tuple(found))


def embedding(answer: pb.EmbedResponse) -> Embedding:
    """Return the result in a message."""
    return Embedding(answer.model, np.array(answer.embedding, np.float32))


RESULTS: Mapping[str, Callable[[Any], Result]] = {
    "classify": classification,
    "segment": segmentation,
    "detect": detections,
    "embed": embedding,
}


def refused(error: grpc.RpcError) -> TwinsError:
    """Return the error of a call."""
    trailing = {str(name): str(value) for name, value in error.trailing_metadata() or ()}
    status = error.code()
    local = {
        grpc.StatusCode.UNAVAILABLE: "unreachable",
        grpc.StatusCode.DEADLINE_EXCEEDED: "deadline_exceeded",
        grpc.StatusCode.RESOURCE_EXHAUSTED: "overloaded",
    }
    after = trailing.get("retry-after", "")
    return TwinsError(
        trailing.get("twins-code") or local.get(status, "internal"),
        error.details() or "",
        retry_after=float(after) if after.isdecimal() else None,
        request_id=trailing.get("x-request-id", ""),
        status=status.name,
    )


def described(answer: pb.ListModelsResponse) -> list[dict[str, Any]]:
    """Return the models in a message."""
    return [
        {
            "name": each.name,
            "version": each.version,
            "task": each.task,
            "variant": each.variant,
            "classes": len(each.labels),
        }
        for each in answer.models
    ]


class Target:
    """What both clients know of the service."""

    def __init__(
        self,
        address: str = "localhost:8001",
        *,
        key: str | None = None,
        timeout: float = TIMEOUT_S,
        retry: Retry | None = None,
        tls: Tls | None = None,
    ) -> None:
        """`timeout` is the deadline of a call in seconds, with all its attempts. Without `tls`, it is plain text."""
        self.address, self.timeout, self.retry = address, timeout, retry or Retry()
        self.metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self.tls = tls

    def channel_of(self, library: Any) -> Any:
        """Return a channel of `grpc` or `grpc.aio`."""
        if self.tls is None:
            return library.insecure_channel(self.address, LARGEST)
        return library.secure_channel(self.address, grpc.ssl_channel_credentials(*self.tls.contents()), LARGEST)


class GrpcClient(Target, Methods):
    """A client over gRPC. It may be used by several threads.

    >>> with GrpcClient("localhost:8001") as client:
    ...     client.classify("examples/cat.jpg").best.label
    'cat'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.channel = self.channel_of(grpc)
        self.stub = pb_grpc.TwinsStub(self.channel)

    def run(self, task: str, image: Image, options: dict[str, Any]) -> Result:
        """Return the result of an image, with as many attempts as it takes. Raise TwinsError."""
        sent = request(task, encoded(image), options)
        return RESULTS[task](self.call(METHODS[task], sent))

    def models(self) -> list[dict[str, Any]]:
        """Return the models that are served. Raise TwinsError."""
        return described(self.call("ListModels", pb.ListModelsRequest()))

    def call(self, method: str, sent: Any) -> Any:
        """Return the answer to a message. Raise TwinsError."""

        def once(left_s: float) -> Any:
            try:
                return getattr(self.stub, method)(sent, timeout=left_s, metadata=self.metadata)
            except grpc.RpcError as error:
                raise refused(error) from error

        return repeated(once, self.retry, self.timeout)

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()


class AsyncGrpcClient(Target, AsyncMethods):
    """A client over gRPC with coroutines. Make it where an event loop runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.channel = self.channel_of(grpc.aio)
        self.stub = pb_grpc.TwinsStub(self.channel)

    async def run(self, task: str, image: Image, options: dict[str, Any]) -> Result:
        """Return the result of an image, with as many attempts as it takes. Raise TwinsError."""
        sent = request(task, encoded(image), options)
        return RESULTS[task](await self.call(METHODS[task], sent))

    async def models(self) -> list[dict[str, Any]]:
        """Return the models that are served. Raise TwinsError."""
        return described(await self.call("ListModels", pb.ListModelsRequest()))

    async def call(self, method: str, sent: Any) -> Any:
        """Return the answer to a message. Raise TwinsError."""

        async def once(left_s: float) -> Any:
            try:
                return await getattr(self.stub, method)(sent, timeout=left_s, metadata=self.metadata)
            except grpc.RpcError as error:
                raise refused(error) from error

        return await repeated_async(once, self.retry, self.timeout)

    async def close(self) -> None:
        """Close the connection."""
        await self.channel.close()
