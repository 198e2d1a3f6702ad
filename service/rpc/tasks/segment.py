"""The messages of segmentation."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc.tasks.codec import PROTOBUF, Codec, known_value
from twins.render import rle
from twins.render.renderer import JPEG, NPY, PNG, Encoder, Renderer, RenderInput
from twins.render.segmentation import SEGMENT_RENDERERS, found_regions
from twins.tasks.segment import SEGMENT
from twins.tasks.segmentation import Region

NO_FILE = Renderer({"": lambda _: b""})

FORMATS: Mapping[int, tuple[Renderer, str]] = {
    pb.MASK_FORMAT_UNSPECIFIED: (SEGMENT_RENDERERS["png"], PNG),
    pb.MASK_FORMAT_PNG: (SEGMENT_RENDERERS["png"], PNG),
    pb.MASK_FORMAT_PALETTE: (SEGMENT_RENDERERS["palette"], PNG),
    pb.MASK_FORMAT_OVERLAY_PNG: (SEGMENT_RENDERERS["overlay"], PNG),
    pb.MASK_FORMAT_OVERLAY_JPEG: (SEGMENT_RENDERERS["overlay"], JPEG),
    pb.MASK_FORMAT_NPY: (SEGMENT_RENDERERS["npy"], NPY),
    pb.MASK_FORMAT_RLE: (NO_FILE, ""),
    pb.MASK_FORMAT_NONE: (NO_FILE, ""),
}
"""The renderer and media type of the file in a response."""


def renderer(request: pb.SegmentRequest) -> Renderer:
    """Return the renderer of responses with the file that the request asks for. Raises BadRequest."""
    of_file, media_type = known_value("format", request.format, FORMATS)
    with_runs = request.format == pb.MASK_FORMAT_RLE
    encode = partial(respond, encode=of_file.encoders[media_type], media_type=media_type, with_runs=with_runs)
    return replace(of_file, encoders={PROTOBUF: encode})


def respond(inputs: RenderInput, *, encode: Encoder, media_type: str, with_runs: bool) -> pb.SegmentResponse:
    """Return a result as a message."""
    height, width = inputs.result.size
    runs = rle.encode(inputs.result) if with_runs else {}
    counts = {class_id: each.counts for class_id, each in runs.items()}
    return pb.SegmentResponse(
        height=height,
        width=width,
        classes=[region_message(region, counts.get(region.class_id, "")) for region in found_regions(inputs)],
        mask=encode(inputs),
        media_type=media_type,
    )


def region_message(region: Region, runs: str) -> pb.Region:
    """Return one class as a message."""
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


SEGMENT_CODEC: Codec[pb.SegmentRequest, pb.SegmentResponse] = Codec(SEGMENT, pb.SegmentResponse, renderer)
