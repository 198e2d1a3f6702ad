"""Requests as calls, and answers as messages."""

from collections.abc import Mapping
from typing import Literal

from service.core.call import Answer, Call, Outcome, Timing
from service.errors import BadRequest
from service.pb.twins.v1 import twins_pb2 as pb
from twins.render.formats import JPEG, Form, RenderedMask, RenderOptions
from twins.tasks.classify import Classification, ClassifyOptions
from twins.tasks.segment import SegmentOptions
from twins.tasks.segmentation import Region

FORMS: Mapping[int, tuple[Form, str]] = {
    pb.MASK_FORMAT_UNSPECIFIED: ("png", ""),
    pb.MASK_FORMAT_PNG: ("png", ""),
    pb.MASK_FORMAT_PALETTE: ("palette", ""),
    pb.MASK_FORMAT_OVERLAY_PNG: ("overlay", ""),
    pb.MASK_FORMAT_OVERLAY_JPEG: ("overlay", JPEG),
    pb.MASK_FORMAT_NPY: ("npy", ""),
    pb.MASK_FORMAT_RLE: ("rle", ""),
    pb.MASK_FORMAT_NONE: ("none", ""),
}
"""A render_options's form and media type; empty: the form's usual one."""

SIZES: Mapping[int, Literal["original", "model"]] = {
    pb.MASK_SIZE_UNSPECIFIED: "original",
    pb.MASK_SIZE_ORIGINAL: "original",
    pb.MASK_SIZE_MODEL: "model",
}


def classify_call(request: pb.ClassifyRequest) -> Call:
    """What a client asks for. Raises BadOption."""
    options = ClassifyOptions(top_k=request.top_k) if request.HasField("top_k") else ClassifyOptions()
    return Call("classify", images(request.image), options, request.model or None)


def segment_call(request: pb.SegmentRequest) -> Call:
    """What a client asks for. Raises BadOption, BadRequest."""
    for value, known in ((request.format, FORMS), (request.size, SIZES)):
        if value not in known:
            raise BadRequest(f"{value} is no value of an enumeration here")
    form, media_type = FORMS[request.format]
    opacity = request.opacity if request.HasField("opacity") else RenderOptions.opacity
    options = SegmentOptions(
        SIZES[request.size], tuple(request.classes), request.threshold, confidence=request.confidence
    )
    render_options = RenderOptions(form, media_type, opacity=opacity, listed=True)
    return Call("segment", images(request.image), options, request.model or None, render_options)


def images(data: bytes) -> tuple[bytes, ...]:
    """The image, if there is one."""
    return (data,) if data else ()


def classify_response(request: pb.ClassifyRequest, answer: Answer, outcome: Outcome) -> pb.ClassifyResponse:
    """A result as a message."""
    assert isinstance(answer.result, Classification)
    return pb.ClassifyResponse(
        id=request.id,
        model=outcome.model,
        predictions=[
            pb.Prediction(label=p.label, class_id=p.class_id, score=p.score, synset=p.synset or "")
            for p in answer.result.predictions
        ],
        timing=timing_message(answer.timing),
    )


def segment_response(request: pb.SegmentRequest, answer: Answer, outcome: Outcome) -> pb.SegmentResponse:
    """A mask as a message."""
    found = answer.result
    assert isinstance(found, RenderedMask)
    height, width = found.size
    runs = {class_id: each.counts for class_id, each in found.runs.items()}
    return pb.SegmentResponse(
        id=request.id,
        model=outcome.model,
        height=height,
        width=width,
        classes=[region_message(region, runs.get(region.class_id, "")) for region in found.regions],
        mask=found.content,
        media_type=found.media_type,
        timing=timing_message(answer.timing),
    )


def region_message(region: Region, runs: str) -> pb.Region:
    """One class."""
    left, top, right, bottom = region.box
    return pb.Region(
        class_id=region.class_id,
        label=region.label,
        colour=region.colour,
        pixels=region.pixels,
        share=region.share,
        box=pb.Box(left=left, top=top, right=right, bottom=bottom),
        confidence=region.confidence,
        rle=runs,
    )


def timing_message(timing: Timing) -> pb.Timing:
    """Where an image's time went."""
    return pb.Timing(
        decode_queue=timing.decode_queue,
        decode=timing.decode,
        preprocess=timing.preprocess,
        queue=timing.queue,
        infer=timing.infer,
        postprocess=timing.postprocess,
    )
