"""The messages of detection."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc.tasks.codec import PROTOBUF, Codec, known_value
from twins.render import png, polygons, rle
from twins.render.detection import DETECT_RENDERERS
from twins.render.renderer import JPEG, NPY, PNG, Encoder, Renderer, RenderInput
from twins.tasks.detect import DETECT
from twins.tasks.detection import Detection, InstanceMask

FILES: Mapping[int, tuple[Renderer, str]] = {
    pb.DETECT_FILE_UNSPECIFIED: (Renderer({"": lambda _: b""}), ""),
    pb.DETECT_FILE_OVERLAY_PNG: (DETECT_RENDERERS["overlay"], PNG),
    pb.DETECT_FILE_OVERLAY_JPEG: (DETECT_RENDERERS["overlay"], JPEG),
    pb.DETECT_FILE_NPY: (DETECT_RENDERERS["npy"], NPY),
}
"""The renderer and media type of the file in a response."""


def renderer(request: pb.DetectRequest) -> Renderer:
    """Return the renderer of responses with the file that the request asks for. Raises BadRequest."""
    of_file, media_type = known_value("file", request.file, FILES)
    encode = partial(respond, encode=of_file.encoders[media_type], media_type=media_type)
    return replace(of_file, encoders={PROTOBUF: encode})


def respond(inputs: RenderInput, *, encode: Encoder, media_type: str) -> pb.DetectResponse:
    """Return a result as a message."""
    height, width = inputs.result.size
    return pb.DetectResponse(
        height=height,
        width=width,
        detections=[message(each, inputs.result.size, inputs.options.masks) for each in inputs.result.detections],
        file=encode(inputs),
        media_type=media_type,
    )


def message(found: Detection, size: tuple[int, int], masks: str) -> pb.Detection:
    """Return one object as a message. `masks` is the option."""
    left, top, right, bottom = found.box
    made = pb.Detection(
        class_id=found.class_id,
        label=found.label,
        score=found.score,
        box=pb.ExactBox(left=left, top=top, right=right, bottom=bottom),
    )
    if masks != "none" and (mask := found.mask(size)):
        add_mask(made, mask, size, masks)
    return made


def add_mask(made: pb.Detection, mask: InstanceMask, size: tuple[int, int], form: str) -> None:
    """Add a mask to a message in one of its forms."""
    match form:
        case "rle":
            made.rle = rle.encode_instance(mask, size).counts
        case "polygons":
            made.polygons.extend(map(polygon, polygons.trace_instance(mask)))
        case "png":
            made.png.CopyFrom(pb.PngMask(left=mask.left, top=mask.top, png=png.silhouette(mask.pixels)))


def polygon(found: polygons.Polygon) -> pb.Polygon:
    """Return a polygon as a message."""
    return pb.Polygon(outline=ring(found.outline), holes=map(ring, found.holes))


def ring(found: polygons.Ring) -> pb.Ring:
    """Return a closed line as a message."""
    return pb.Ring(corners=[side for corner in found for side in corner])


DETECT_CODEC: Codec[pb.DetectRequest, pb.DetectResponse] = Codec(DETECT, pb.DetectResponse, renderer)
