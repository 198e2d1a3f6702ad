"""The formats of each task: their media types, their inputs and their limits."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from twins.card import Card, Normalisation
from twins.errors import BadOption
from twins.preprocessing import resize_keep_ratio
from twins.render import RENDERERS
from twins.render.renderer import JPEG, JSON, RenderInput
from twins.tasks import TASKS
from twins.tasks.classify import Classification, ClassifyOptions, Prediction
from twins.tasks.segment import SegmentOptions
from twins.tasks.segmentation import Segmentation
from twins.zoo import labels

CARD = Card(
    "city", "segment", "none", labels.numbered(4), resize_keep_ratio(512), Normalisation(), True, "tests", "none"
)
FOUND = Segmentation(np.array([[0, 0, 1], [3, 3, 255]], np.uint8), CARD.labels)
IMAGE = Image.new("RGB", (3, 2), (10, 20, 30))
SEGMENT = RENDERERS["segment"]


def inputs(**options) -> RenderInput:
    return RenderInput(FOUND, CARD, SegmentOptions(**options), IMAGE)


def test_every_task_has_renderers_and_json_comes_first():
    assert set(RENDERERS) == set(TASKS)
    assert all(next(iter(formats.values())).media_types == (JSON,) for formats in RENDERERS.values())


def test_a_format_describes_its_document_if_it_is_json():
    renderers = [renderer for formats in RENDERERS.values() for renderer in formats.values()]
    assert all((renderer.document is not None) == (JSON in renderer.media_types) for renderer in renderers)


@pytest.mark.parametrize("name", SEGMENT)
def test_a_format_is_sent_as_its_default_type(name):
    rendered = SEGMENT[name].render(inputs())
    assert rendered.media_type == SEGMENT[name].media_types[0]
    assert len(rendered.content) > 20


def test_only_an_overlay_needs_the_image():
    assert {name for name, renderer in SEGMENT.items() if renderer.needs_image} == {"overlay"}


def test_an_overlay_has_the_requested_type():
    content = SEGMENT["overlay"].render(inputs(), JPEG).content
    assert Image.open(io.BytesIO(content)).format == "JPEG"


def test_an_overlay_has_the_requested_opacity():
    content = SEGMENT["overlay"].render(inputs(opacity=0)).content
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), np.asarray(IMAGE))


@pytest.mark.parametrize(("masks", "key"), [("rle", "rle"), ("polygons", "polygons"), ("none", None)])
def test_masks_in_json_have_the_requested_form(masks, key):
    first = json.loads(SEGMENT["json"].render(inputs(masks=masks)).content)["classes"][0]
    assert {"rle", "polygons"} & set(first) == ({key} if key else set())


def test_a_palette_of_too_many_classes_is_rejected_before_anything_runs():
    SEGMENT["palette"].check(replace(CARD, labels=labels.numbered(255)))
    with pytest.raises(BadOption, match="255 classes"):
        SEGMENT["palette"].check(replace(CARD, labels=labels.numbered(256)))


def test_a_classification_names_its_model_and_leaves_out_missing_synsets():
    found = Classification((Prediction("cat", 2, 0.75), Prediction("dog", 3, 0.25, "n01")))
    renderer = RENDERERS["classify"]["json"]
    assert json.loads(renderer.render(RenderInput(found, CARD, ClassifyOptions())).content) == {
        "model": "city",
        "predictions": [
            {"label": "cat", "class_id": 2, "score": 0.75},
            {"label": "dog", "class_id": 3, "score": 0.25, "synset": "n01"},
        ],
    }
