"""The messages of embedding."""

from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc.tasks.codec import PROTOBUF, Codec
from twins.render.renderer import Renderer, RenderInput
from twins.tasks.embed import EMBED


def respond(inputs: RenderInput) -> pb.EmbedResponse:
    """Return a result as a message."""
    return pb.EmbedResponse(embedding=inputs.result.vector.tolist())


RENDERER = Renderer({PROTOBUF: respond})

EMBED_CODEC: Codec[pb.EmbedRequest, pb.EmbedResponse] = Codec(EMBED, pb.EmbedResponse, lambda _: RENDERER)
