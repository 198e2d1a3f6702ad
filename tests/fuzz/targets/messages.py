"""A gRPC message: of the Open Inference Protocol, or of the project's own interface.

The first byte of an input chooses the method. The rest is the message.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from service.core.call import Caller
from service.errors import ServiceError
from service.oip import servicer as oip
from service.pb.inference.grpc_service_pb2 import ModelInferRequest
from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc import servicer as rpc
from service.rpc.answering import Answering
from service.rpc.context import parse
from service.rpc.tasks.classify import CLASSIFY_CODEC
from service.rpc.tasks.detect import DETECT_CODEC
from service.rpc.tasks.embed import EMBED_CODEC
from service.rpc.tasks.segment import SEGMENT_CODEC
from tests.fuzz.service import ENGINE, LOOP
from tests.fuzz.target import Target

INFERENCE, TWINS = oip.Servicer(ENGINE, Answering()), rpc.Servicer(ENGINE, Answering())
METHODS: tuple[tuple[type[Any], Callable[[Any, Caller], Awaitable[Any]]], ...] = (
    (ModelInferRequest, INFERENCE.answer),
    (pb.ClassifyRequest, partial(TWINS.answer, CLASSIFY_CODEC)),
    (pb.SegmentRequest, partial(TWINS.answer, SEGMENT_CODEC)),
    (pb.DetectRequest, partial(TWINS.answer, DETECT_CODEC)),
    (pb.EmbedRequest, partial(TWINS.answer, EMBED_CODEC)),
)


def run(data: bytes) -> None:
    """Parse a message and answer it."""
    kind, answer = METHODS[data[0] % len(METHODS)] if data else METHODS[0]
    LOOP.run_until_complete(answer(parse(kind.FromString, data[1:]), Caller("id", "grpc", LOOP.time())))


TARGET = Target(run, (ServiceError,))
