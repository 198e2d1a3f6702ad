"""Requests as calls, and answers as messages, whatever the task."""

from typing import Any, TypeVar

from google.protobuf.message import Message

from service.core.call import Answer, Call, Outcome
from service.core.recorder import Timing
from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc.tasks.codec import Codec

Response = TypeVar("Response", bound=Message)


def to_call(request: Any, codec: Codec[Any, Any]) -> Call:
    """Return what a client asks for. Raises BadRequest, BadOption."""
    images = (request.image,) if request.image else ()
    renderer = codec.renderer(request)
    return Call(codec.task.name, images, codec.options(request), request.model or None, renderer)


def to_response(request: Any, answer: Answer, outcome: Outcome, codec: Codec[Any, Response]) -> Response:
    """Return the response to a request: the message that the task's codec made, with its id, model and timing."""
    response: Response = answer.result.content
    response.MergeFrom(codec.response(id=request.id, model=outcome.model, timing=timing_message(answer.timing)))
    return response


def timing_message(timing: Timing) -> pb.Timing:
    """Return the time that an image spent in each stage."""
    return pb.Timing(
        decode_queue=timing.decode_queue,
        decode=timing.decode,
        preprocess=timing.preprocess,
        queue=timing.queue,
        infer=timing.infer,
        postprocess=timing.postprocess,
    )
