"""The messages of each task: options as the client set them or their defaults, and responses that hold the result."""

import numpy as np
import pytest
from PIL import Image

from service.errors import BadRequest
from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc.messages import to_call
from service.rpc.tasks.classify import CLASSIFY_CODEC
from service.rpc.tasks.segment import FORMATS, SEGMENT_CODEC
from tests.twins.render.test_formats import CARD, FOUND
from twins.errors import BadOption
from twins.render.renderer import RenderInput
from twins.tasks import TASKS
from twins.tasks.classify import ClassifyOptions
from twins.tasks.segment import SegmentOptions


def test_every_task_has_a_method_and_a_stream():
    methods = set(pb.DESCRIPTOR.services_by_name["Twins"].methods_by_name)
    assert {f"{name.title()}{kind}" for name in TASKS for kind in ("", "Stream")} | {"ListModels"} == methods


def test_absent_fields_are_the_defaults_of_the_options():
    assert CLASSIFY_CODEC.options(pb.ClassifyRequest()) == ClassifyOptions()
    assert SEGMENT_CODEC.options(pb.SegmentRequest()) == SegmentOptions()


def test_fields_are_the_options_of_their_names():
    request = pb.SegmentRequest(
        size=pb.MASK_SIZE_MODEL, classes=["cat", "7"], threshold=0.5, confidence=True, opacity=0.25
    )
    expected = SegmentOptions(size="model", classes=("cat", "7"), threshold=0.5, confidence=True, opacity=0.25)
    assert SEGMENT_CODEC.options(request) == expected


def test_a_zero_that_was_set_is_not_the_default():
    with pytest.raises(BadOption, match="top_k is 0"):
        CLASSIFY_CODEC.options(pb.ClassifyRequest(top_k=0))


@pytest.mark.parametrize("field", ["size", "format"])
def test_an_unknown_value_of_an_enumeration_is_refused_by_its_field(field):
    with pytest.raises(BadRequest, match=f"{field} is 99"):
        to_call(pb.SegmentRequest(image=b"x", **{field: 99}), SEGMENT_CODEC)


def test_every_format_of_the_interface_has_a_renderer():
    assert set(FORMATS) == set(pb.MaskFormat.values())


@pytest.mark.parametrize("number", FORMATS)
def test_a_response_holds_the_file_and_the_classes(number):
    renderer = SEGMENT_CODEC.renderer(pb.SegmentRequest(format=number))
    image = Image.new("RGB", FOUND.size[::-1])
    response = renderer.render(RenderInput(FOUND, CARD, SegmentOptions(), image)).content
    assert (response.height, response.width, [each.class_id for each in response.classes]) == (2, 3, [0, 3, 1])
    assert bool(response.mask) == bool(response.media_type)
    assert bool(response.classes[0].rle) == (number == pb.MASK_FORMAT_RLE)
    assert not np.any([each.HasField("confidence") for each in response.classes])


def test_only_an_overlay_keeps_the_image_and_only_a_palette_limits_the_classes():
    renderers = {name: SEGMENT_CODEC.renderer(pb.SegmentRequest(format=name)) for name in pb.MaskFormat.keys()}  # noqa: SIM118
    keeping = {name for name, each in renderers.items() if each.needs_image}
    limited = {name for name, each in renderers.items() if each.max_classes}
    assert keeping == {"MASK_FORMAT_OVERLAY_PNG", "MASK_FORMAT_OVERLAY_JPEG"}
    assert limited == {"MASK_FORMAT_PALETTE"}
