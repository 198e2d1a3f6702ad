"""Preprocessing values: which source is used, what is refused, and how users write them."""

import dataclasses

import pytest

from twins.card import Geometry, Normalisation, PreprocessingSources
from twins.errors import BadOption
from twins.preprocessing import DEFAULTS, Preprocessing, choose, describe, parse_preprocessing

USER = Preprocessing(96, 0.5, "bilinear", (0.1, 0.1, 0.1), (0.2, 0.2, 0.2))
FILE = Preprocessing(128, 0.6, "bicubic", (0.3, 0.3, 0.3), (0.4, 0.4, 0.4))
ZOO = Preprocessing(160, 0.7, "bicubic", (0.5, 0.5, 0.5), (0.6, 0.6, 0.6))
LAYERS = {"flag": USER, "checkpoint": FILE, "zoo": ZOO, "default": Preprocessing(crop=0.8)}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Preprocessing)])
def test_the_user_comes_before_the_file_and_the_file_before_the_zoo(name):
    layers = dict(LAYERS)
    for source in LAYERS:
        assert getattr(choose("classify", layers).sources, name) == source
        layers[source] = dataclasses.replace(layers[source], **{name: None})


def test_the_chosen_values_are_those_of_their_sources():
    mean = Preprocessing(mean=(0.3, 0.3, 0.3))
    found = choose("classify", {"zoo": ZOO, "checkpoint": mean, "flag": Preprocessing(64)})
    assert found.geometry == Geometry(short_side=91, crop=64, interpolation="bicubic")
    assert found.normalisation == Normalisation((0.3, 0.3, 0.3), (0.6, 0.6, 0.6))
    assert found.sources == PreprocessingSources("flag", "zoo", "zoo", "checkpoint", "zoo")


def test_without_any_source_the_defaults_of_the_task_apply():
    assert choose("classify", {}).geometry == Geometry(248, 224, "bicubic")
    assert choose("segment", {}).geometry == Geometry(512, None, "bilinear", 2048)


def test_the_crop_of_a_format_is_a_default():
    found = choose("classify", {"default": Preprocessing(crop=0.875)})
    assert (found.geometry.short_side, found.sources.crop) == (256, "default")


def test_a_segmentation_model_has_no_crop():
    assert choose("segment", {"checkpoint": Preprocessing(crop=1.0)}).sources.crop is None
    with pytest.raises(BadOption, match="crop does not apply to the task segment"):
        choose("segment", {"flag": Preprocessing(crop=0.9)})


@pytest.mark.parametrize(("task", "interpolation"), [("segment", "bicubic"), ("classify", "lanczos")])
def test_an_interpolation_that_a_task_cannot_do_is_refused_with_its_source(task, interpolation):
    with pytest.raises(BadOption, match=rf"{interpolation} \(source: checkpoint\).*bilinear"):
        choose(task, {"checkpoint": Preprocessing(interpolation=interpolation)})


def test_a_users_interpolation_replaces_one_that_cannot_be_done():
    layers = {"checkpoint": Preprocessing(interpolation="lanczos"), "flag": Preprocessing(interpolation="bilinear")}
    assert choose("classify", layers).geometry.interpolation == "bilinear"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 31}, "size is 31"),
        ({"size": 5000}, "size is 5000"),
        ({"crop": 0.0}, "crop is 0.0"),
        ({"crop": 0.001}, "crop is 0.001"),  # of an image that would be resized to a thousand times the input
        ({"crop": float("nan")}, "crop is nan"),
        ({"mean": (123.675, 116.28, 103.53)}, "Divide values for pixels from 0 to 255 by 255"),
        ({"std": (58.395, 57.12, 57.375)}, "Divide values for pixels from 0 to 255 by 255"),
        ({"std": (0.0, 0.5, 0.5)}, "greater than 0"),
    ],
)
def test_values_that_no_model_can_use_are_refused(values, words):
    with pytest.raises(BadOption, match=words):
        Preprocessing(**values)


def test_values_are_written_in_one_word():
    text = "size=96,crop=0.5,interpolation=bilinear,mean=0.1/0.1/0.1,std=0.2/0.2/0.2"
    assert parse_preprocessing(text) == USER


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not a preprocessing value; write values like size=224,crop=0.9"),
        ("sise=224", "'sise' is not a preprocessing value"),
        ("size", "'' is not a value for size"),
        ("size=large", "'large' is not a value for size"),
        ("mean=0.5", "'0.5' is not a value for mean"),
        ("size=224,size=256", "size is given twice"),
    ],
)
def test_a_mistake_in_the_text_is_answered_with_its_form(text, words):
    with pytest.raises(BadOption, match=words):
        parse_preprocessing(text)


def test_a_description_has_every_value_with_its_source():
    assert describe(choose("classify", {"zoo": DEFAULTS["classify"], "flag": Preprocessing(crop=0.875)})) == (
        "size 224 (zoo), resized short side 256 (flag), interpolation bicubic (zoo), "
        "mean 0.485/0.456/0.406 (zoo), std 0.229/0.224/0.225 (zoo)"
    )
