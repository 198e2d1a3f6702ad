"""The zoo entries, and how users write a model reference."""

from pathlib import Path

import pytest

from twins.card import Geometry
from twins.errors import UnknownModel
from twins.network.variants import PUBLISHED, VARIANTS
from twins.preprocessing import choose
from twins.zoo.labels import shipped
from twins.zoo.models import (
    DEFAULT_MODELS,
    PUBLISHED_DETECTORS,
    ZOO,
    ModelReference,
    list_models,
    parse_reference,
)
from twins.zoo.sources import Packaged


def test_a_name_is_a_model_of_the_zoo():
    assert parse_reference("twins_svt_small") == ModelReference("twins_svt_small")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("twins_svt_base=./file.pth", ModelReference("twins_svt_base", Path("file.pth"))),
        ("flowers=/data/flowers.pth", ModelReference("flowers", Path("/data/flowers.pth"))),
        ("odd=name=with=signs.pth", ModelReference("odd", Path("name=with=signs.pth"))),
        ("home=~/w.pth", ModelReference("home", Path.home() / "w.pth")),
    ],
)
def test_a_name_and_a_file_are_any_name_and_that_file(text, expected):
    assert parse_reference(text) == expected


@pytest.mark.parametrize("text", ["=file.pth", "name=", "="])
def test_an_incomplete_reference_is_rejected(text):
    with pytest.raises(UnknownModel, match="NAME=FILE"):
        parse_reference(text)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("twins_svt_smal", "twins_svt_small"),
        ("svt_base", "twins_svt_base"),
        ("twins-pcpvt-large", "twins_pcpvt_large"),
        ("TWINS_SVT_NANO", "twins_svt_nano"),
    ],
)
def test_a_misspelt_name_gets_the_closest_as_a_suggestion(typed, meant):
    with pytest.raises(UnknownModel, match=f"did you mean {meant}"):
        parse_reference(typed)


@pytest.mark.parametrize("typed", ["resnet50", "", "./file.pth"])
def test_an_unknown_name_gets_all_names_and_advice_on_own_files(typed):
    with pytest.raises(UnknownModel, match=r"twins_svt_nano.*NAME=FILE"):
        parse_reference(typed)


def test_the_table_lists_every_published_variant_with_every_head():
    published = [f"twins_{variant}" for variant in PUBLISHED]
    segmenters = {f"{name}_{head}_ade20k" for name in published for head in ("fpn", "upernet")}
    detectors = {f"{name}_{head}_coco" for name in published for head in ("retinanet", "maskrcnn")}
    others = {*DEFAULT_MODELS.values(), *PUBLISHED_DETECTORS}
    assert set(list_models()) == {*published, *others} | segmenters | detectors


@pytest.mark.parametrize("name", ZOO)
def test_every_row_names_a_variant_and_labels_that_exist(name):
    assert ZOO[name].variant in VARIANTS
    assert shipped(ZOO[name].labels)


@pytest.mark.parametrize("name", [name for name in ZOO if ZOO[name].labels == "imagenet1k"])
def test_published_models_have_the_preprocessing_with_which_timm_measured_them(name):
    geometry = choose("classify", {"zoo": ZOO[name].preprocessing}).geometry
    assert (geometry, ZOO[name].exif_orientation) == (Geometry(248, 224, "bicubic"), False)


@pytest.mark.parametrize("task", DEFAULT_MODELS)
def test_a_tasks_default_model_is_for_it_and_needs_no_network(task):
    entry = ZOO[DEFAULT_MODELS[task]]
    assert entry.task == task
    assert isinstance(entry.source, Packaged)


def test_every_model_that_ships_has_a_model_card():
    for entry in ZOO.values():
        if isinstance(entry.source, Packaged):
            assert entry.source.document().startswith("# twins_")


@pytest.mark.parametrize(
    "name", ["a/b", "a b", "../a", "..", ".hidden", "-a", "a%2F", "a\nb", "ä", "a?b", "a#b", "a\n"]
)
def test_a_name_that_cannot_be_part_of_a_path_is_rejected_with_the_rule(name):
    with pytest.raises(UnknownModel, match="use letters, digits"):
        parse_reference(f"{name}=weights.pth")


@pytest.mark.parametrize("name", ["a", "7", "my-model_v1.2", "A..b"])
def test_a_name_of_letters_digits_and_a_few_signs_is_accepted(name):
    assert parse_reference(f"{name}=weights.pth").name == name
