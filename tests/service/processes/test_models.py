"""Tests how the settings select the models, and the labels of each model."""

from pathlib import Path

import pytest

from service.processes.models import parse_references
from service.settings import Settings, SettingsError
from twins.errors import UnknownModel
from twins.preprocessing import Preprocessing
from twins.zoo.models import ModelReference


def settings(*models: str, labels: tuple[str, ...] = (), preprocess: tuple[str, ...] = ()) -> Settings:
    return Settings(models=models, labels=labels, preprocess=preprocess)


def labels_of(name: str, served: Settings) -> Path | None:
    return next(each.labels_file for each in parse_references(served) if each.name == name)


def test_models_keep_their_order():
    served = parse_references(settings("twins_svt_nano", "own=x.pth", "twins_svt_small"))
    assert [reference.name for reference in served] == ["twins_svt_nano", "own", "twins_svt_small"]


def test_a_name_can_have_a_file():
    assert parse_references(settings("own=folder/x.pth")) == (ModelReference("own", Path("folder/x.pth")),)


def test_a_published_name_can_have_a_file():
    assert parse_references(settings("twins_svt_small=x.pth")) == (ModelReference("twins_svt_small", Path("x.pth")),)


def test_a_misspelt_model_is_rejected_with_the_right_name():
    with pytest.raises(UnknownModel, match="did you mean twins_svt_small"):
        parse_references(settings("twins_svt_smal"))


@pytest.mark.parametrize("text", ["=x.pth", "own="])
def test_an_incomplete_model_is_rejected(text):
    with pytest.raises(UnknownModel, match="NAME=FILE"):
        parse_references(settings(text))


def test_a_model_that_is_given_twice_is_rejected():
    with pytest.raises(SettingsError, match="own is given twice"):
        parse_references(settings("own=x.pth", "own=y.pth"))


def test_an_empty_list_of_models_is_rejected():
    with pytest.raises(SettingsError, match="no model"):
        parse_references(settings())


def test_labels_without_a_name_belong_to_the_only_own_checkpoint():
    served = settings("twins_svt_nano", "own=x.pth", labels=("flowers.txt",))
    assert labels_of("own", served) == Path("flowers.txt")


def test_labels_of_one_model_do_not_apply_to_another():
    served = settings("twins_svt_nano", "own=x.pth", labels=("flowers.txt",))
    assert labels_of("twins_svt_nano", served) is None


def test_labels_with_a_name_belong_to_that_model():
    served = settings("own=x.pth", "other=y.pth", labels=("other=b.txt", "own=a.txt"))
    assert labels_of("other", served) == Path("b.txt")


def test_labels_that_could_belong_to_several_models_are_rejected():
    with pytest.raises(SettingsError, match=r"^--labels flowers\.txt: several .* write --labels MODEL=flowers\.txt$"):
        parse_references(settings("own=x.pth", "other=y.pth", labels=("flowers.txt",)))


def test_labels_that_belong_to_no_model_are_rejected():
    with pytest.raises(
        SettingsError, match=r"^--labels flowers\.txt: no checkpoint of your own is served; add --model NAME=FILE$"
    ):
        parse_references(settings("twins_svt_nano", labels=("flowers.txt",)))


def test_labels_of_a_model_that_is_not_served_are_rejected():
    with pytest.raises(SettingsError, match=r"^--labels othre=a\.txt: no model othre is served$"):
        parse_references(settings("own=x.pth", labels=("othre=a.txt",)))


def test_preprocessing_values_belong_to_the_model_that_they_name():
    served = parse_references(settings("twins_svt_nano", "own=x.pth", preprocess=("own:size=96,crop=0.5",)))
    assert [each.preprocessing for each in served] == [Preprocessing(), Preprocessing(size=96, crop=0.5)]


@pytest.mark.parametrize(
    ("preprocess", "words"),
    [
        (("othre:size=96",), "^--preprocess: no model othre is served"),
        (("size=96",), "^--preprocess size=96: .*MODEL:size="),
        ((":size=96",), "^--preprocess :size=96: .*MODEL:size="),
        (("own:size=96", "own:crop=0.5"), "^--preprocess: the model own is given twice"),
        (("own:size=large",), "^--preprocess own:size=large: 'large' is not a value for size"),
    ],
)
def test_preprocessing_values_that_are_wrong_are_refused(preprocess, words):
    with pytest.raises(SettingsError, match=words):
        parse_references(settings("own=x.pth", preprocess=preprocess))
