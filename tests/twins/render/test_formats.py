"""Forms of masks: what each is sent as, what it needs, and what it cannot hold."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from twins.card import Card, Normalisation
from twins.errors import BadOption
from twins.render.formats import ENCODERS, JPEG, MEDIA_TYPES, RenderOptions
from twins.tasks.segmentation import Segmentation
from twins.zoo import labels
from twins.zoo.models import MMSEG_GEOMETRY

CARD = Card("city", "segment", "none", labels.numbered(4), MMSEG_GEOMETRY, Normalisation(), True, "tests", "none")
FOUND = Segmentation(np.array([[0, 0, 1], [3, 3, 255]], np.uint8), CARD.labels)
PHOTO = Image.new("RGB", (3, 2), (10, 20, 30))


def test_every_form_has_media_types_and_an_encoder():
    assert set(MEDIA_TYPES) == set(ENCODERS)


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_a_form_is_sent_as_its_usual_type_and_knows_its_size(form):
    rendered = RenderOptions(form).render(FOUND, CARD, PHOTO)
    assert (rendered.media_type, rendered.size, rendered.regions) == (MEDIA_TYPES[form][0], (2, 3), ())


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_the_classes_stand_beside_any_form(form):
    rendered = RenderOptions(form, listed=True).render(FOUND, CARD, PHOTO)
    assert [(each.class_id, each.pixels) for each in rendered.regions] == [(0, 2), (3, 2), (1, 1)]


def test_only_an_overlay_needs_the_image():
    assert {form for form in MEDIA_TYPES if RenderOptions(form).needs_image} == {"overlay"}


def test_an_overlay_is_of_the_wanted_type():
    content = RenderOptions("overlay", media_type=JPEG).render(FOUND, CARD, PHOTO).content
    assert Image.open(io.BytesIO(content)).format == "JPEG"


def test_run_lengths_stand_beside_the_content_in_one_form_alone():
    assert set(RenderOptions("rle").render(FOUND, CARD, None).runs) == {0, 1, 3}
    assert not RenderOptions("png").render(FOUND, CARD, None).runs


@pytest.mark.parametrize("wrong", [{"form": "gif"}, {"masks": "dots"}, {"opacity": 1.1}, {"opacity": float("nan")}])
def test_a_view_that_makes_no_sense_is_a_bad_option(wrong):
    with pytest.raises(BadOption):
        RenderOptions(**wrong)


def test_a_palette_of_too_many_classes_is_refused_before_anything_runs():
    RenderOptions("palette").check(replace(CARD, labels=labels.numbered(255)))
    with pytest.raises(BadOption, match="255 classes"):
        RenderOptions("palette").check(replace(CARD, labels=labels.numbered(256)))
