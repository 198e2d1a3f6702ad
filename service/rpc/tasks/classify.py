"""The messages of classification."""

from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc.tasks.codec import PROTOBUF, Codec
from twins.render.renderer import Renderer, RenderInput
from twins.tasks.classify import CLASSIFY


def respond(inputs: RenderInput) -> pb.ClassifyResponse:
    """Return a result as a message."""
    return pb.ClassifyResponse(
        predictions=[
            pb.Prediction(label=p.label, class_id=p.class_id, score=p.score, synset=p.synset or "")
            for p in inputs.result.predictions
        ]
    )


RENDERER = Renderer({PROTOBUF: respond})

CLASSIFY_CODEC: Codec[pb.ClassifyRequest, pb.ClassifyResponse] = Codec(
    CLASSIFY, pb.ClassifyResponse, lambda _: RENDERER
)
