"""Class names: which list is used, and which lists are rejected."""

import pytest

from twins.card import Label
from twins.errors import LabelsError
from twins.zoo import labels

THREE = (Label("rose"), Label("tulip"), Label("daisy"))
OTHER = (Label("one"), Label("two"), Label("three"))


def test_the_first_given_list_is_used():
    assert labels.choose(3, None, THREE, OTHER) == THREE


def test_a_thousand_classes_are_assumed_to_be_imagenet():
    assert labels.choose(1000, None)[283] == Label("Persian cat", "n02123394")


def test_classes_without_names_are_numbered():
    assert [label.name for label in labels.choose(2, None, None)] == ["class 0", "class 1"]


@pytest.mark.parametrize("classes", [2, 4, 1000])
def test_a_list_of_another_length_is_rejected(classes):
    with pytest.raises(LabelsError, match=f"3 labels were given for a network of {classes} classes.*--labels"):
        labels.choose(classes, THREE)


def test_a_wrong_list_is_not_skipped_in_favour_of_a_right_one():
    with pytest.raises(LabelsError):
        labels.choose(3, THREE[:2], OTHER)


def test_imagenets_synsets_are_unique():
    assert len({label.synset for label in labels.shipped("imagenet1k")}) == 1000


def test_imagenet_has_repeated_names_with_different_synsets():
    cranes = [label.synset for label in labels.shipped("imagenet1k") if label.name == "crane"]
    assert cranes == ["n02012849", "n03126707"]


def test_the_models_that_ship_have_thirteen_and_twelve_classes():
    assert [len(labels.shipped(name)) for name in ("nano13", "nano12", "nano12_bg")] == [13, 12, 13]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rose\ntulip\n", (Label("rose"), Label("tulip"))),
        ("rose\r\n\r\n  tulip  \r\n", (Label("rose"), Label("tulip"))),
        ("n01440764\ttench\n", (Label("tench", "n01440764"),)),
        ("Blume, rot\nфиалка", (Label("Blume, rot"), Label("фиалка"))),
    ],
    ids=["plain", "windows", "synset", "unicode"],
)
def test_a_file_has_one_class_per_line(tmp_path, text, expected):
    (tmp_path / "labels.txt").write_bytes(text.encode())
    assert labels.read(tmp_path / "labels.txt") == expected


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbfrose\n")
    assert labels.read(tmp_path / "labels.txt") == (Label("rose"),)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00"], ids=["empty", "blank", "not-utf-8"])
def test_a_file_without_labels_is_rejected_and_named(tmp_path, content):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(LabelsError, match=r"labels\.txt"):
        labels.read(tmp_path / "labels.txt")


def test_a_missing_file_is_rejected_and_named(tmp_path):
    with pytest.raises(LabelsError, match=r"nowhere\.txt"):
        labels.read(tmp_path / "nowhere.txt")
