"""`twins evaluate` on labelled folders, with output for people and for programs."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests import segmentation, training
from tests.end_to_end.test_cli import CAT, SOME_FAILED, USAGE, call, lines, printed, refused


@pytest.fixture
def images(tmp_path):
    """Write three images of a cat, one of them in the folder of dogs."""
    for name in ("cat/a.jpg", "cat/b.jpg", "dog/c.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CAT, tmp_path / "images" / name)
    return tmp_path / "images"


def evaluated(*arguments: object) -> dict:
    """Return the JSON report."""
    (report,) = lines("evaluate", "--json", *arguments)
    return report


def test_a_classifier_is_measured_on_class_folders(images):
    report = evaluated("--model", "twins_svt_nano", images)
    figures = report["figures"]
    assert (report["task"], figures["images"], figures["top1"]) == ("classify", 3, pytest.approx(2 / 3))
    assert figures["mean_per_class"] == 0.5
    assert [(each["label"], each["right"]) for each in figures["classes"]] == [("cat", 2), ("dog", 0)]
    assert figures["classes"][1]["taken_for"] == "cat"


def test_the_batch_changes_no_figure(images):
    first, second = (evaluated("--model", "twins_svt_nano", "--batch", size, images)["figures"] for size in (1, 3))
    assert first["confusion"] == second["confusion"]


def test_the_output_for_people_is_a_table_and_a_summary(images):
    shown = printed("evaluate", "--model", "twins_svt_nano", images)
    assert "top-1 66.7 % (" in shown
    assert "3 images" in shown
    (line,) = [line.split() for line in shown.splitlines() if line.split()[:1] == ["dog"]]
    assert line[1:3] == ["1", "0.0"]


def test_a_bad_image_is_left_out_and_reported(images):
    (images / "dog" / "c.jpg").write_text("no image")
    done = call("evaluate", "--model", "twins_svt_nano", images)
    assert done.returncode == SOME_FAILED
    assert "top-1 100.0 %" in done.stdout.decode()
    assert "c.jpg" in done.stderr.decode()


def test_a_folder_without_a_class_is_wrong_usage(images):
    (images / "cat").rename(images / "dragon")
    assert "'dragon'" in refused(USAGE, "evaluate", "--model", "twins_svt_nano", images)


def test_only_bad_images_are_wrong_usage(images):
    for path in images.glob("*/*"):
        path.write_text("no image")
    assert "no image could be used" in refused(USAGE, "evaluate", "--model", "twins_svt_nano", images)


@pytest.fixture
def pairs(tmp_path):
    return training.pairs(tmp_path / "pairs", 4)


MODEL = ("--model", "twins_svt_nano_fpn")


def test_a_segmentation_network_is_measured_on_masks(pairs):
    report = evaluated(*MODEL, pairs)
    figures = report["figures"]
    pixels = 4 * training.SIZE[0] * training.SIZE[1]
    assert (report["task"], figures["images"]) == ("segment", 4)
    assert sum(each["pixels"] for each in figures["classes"]) == sum(map(sum, figures["confusion"])) == pixels
    assert 0 <= figures["miou_interval"][0] <= figures["miou"] <= figures["miou_interval"][1] <= 1


def test_a_mask_of_the_network_itself_is_fully_correct(pairs, tmp_path):
    printed("segment", pairs / "images", "--output", tmp_path / "own", *MODEL)
    shutil.rmtree(pairs / "masks")
    (tmp_path / "own").rename(pairs / "masks")
    assert evaluated(*MODEL, pairs)["figures"]["pixel_accuracy"] == 1


def test_pixels_without_a_class_do_not_count(pairs):
    for path in (pairs / "masks").iterdir():
        mask = np.asarray(Image.open(path)).copy()
        mask[:60] = 255
        Image.fromarray(mask).save(path)
    figures = evaluated(*MODEL, pairs)["figures"]
    assert sum(each["pixels"] for each in figures["classes"]) == 4 * training.SIZE[0] * 60


def test_ade20ks_layout_begins_its_classes_at_one(pairs):
    plain = evaluated(*MODEL, pairs)["figures"]
    for old, new in (("images", "images/validation"), ("masks", "annotations/validation")):
        (pairs / old).rename(pairs / "moved")
        (pairs / new).parent.mkdir(exist_ok=True)
        (pairs / "moved").rename(pairs / new)
    for path in (pairs / "annotations" / "validation").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) + np.uint8(1)).save(path)
    assert evaluated(*MODEL, pairs)["figures"] == plain
    kept = evaluated(*MODEL, "--keep-zero-label", pairs)["figures"]
    assert pixels(kept)["person"] == pixels(plain)["background"]
    for path in (pairs / "annotations" / "validation").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) + np.uint8(10)).save(path)
    done = call("evaluate", *MODEL, "--keep-zero-label", pairs)
    assert done.returncode == SOME_FAILED
    assert "the mask contains class 13, and there are 13 classes" in done.stderr.decode()


def pixels(figures: dict) -> dict[str, int]:
    """Return the number of true pixels of each class."""
    return {each["label"]: each["pixels"] for each in figures["classes"]}


def test_zero_is_no_class_if_the_zero_label_is_reduced(pairs):
    figures = evaluated(*MODEL, "--reduce-zero-label", pairs)["figures"]
    assert 0 < sum(each["pixels"] for each in figures["classes"]) < 4 * training.SIZE[0] * training.SIZE[1] / 2


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: Image.new("L", (5, 4)).save(path), "002.png: the mask is (4, 5)"),
        (lambda path: path.write_text("no image"), "002.png: cannot read the mask"),
        (lambda path: Image.new("RGB", training.SIZE).save(path), "002.png: the mask is (120, 150, 3)"),
    ],
    ids=["another size", "no image", "colours"],
)
def test_a_mask_that_cannot_be_used_is_left_out_and_reported(pairs, spoil, complaint):
    spoil(pairs / "masks" / "002.png")
    done = call("evaluate", *MODEL, "--json", pairs)
    assert done.returncode == SOME_FAILED
    report = json.loads(done.stdout)
    assert report["figures"]["images"] == 3
    assert complaint in report["failed"][0]


def test_an_own_checkpoint_is_measured_with_its_labels(pairs, tmp_path):
    (tmp_path / "own.txt").write_text("ground\nbar\ndisc\nfourth\nfifth\n")
    report = evaluated("--model", f"own={segmentation.tiny(tmp_path)}", "--labels", tmp_path / "own.txt", pairs)
    assert [each["label"] for each in report["figures"]["classes"]][:3] == ["ground", "bar", "disc"]


def test_several_scales_are_measured(pairs):
    one, several = (evaluated(*MODEL, *flags, pairs)["figures"] for flags in ((), ("--multi-scale",)))
    pixels = 4 * training.SIZE[0] * training.SIZE[1]
    assert sum(map(sum, several["confusion"])) == sum(map(sum, one["confusion"])) == pixels
    assert several["confusion"] != one["confusion"]


def test_several_scales_run_on_pytorch_only(pairs):
    assert "runs on PyTorch" in refused(USAGE, "evaluate", *MODEL, "--multi-scale", "--backend", "openvino", pairs)


def test_several_scales_are_for_segmentation(images):
    assert "options for masks" in refused(USAGE, "evaluate", "--model", "twins_svt_nano", "--multi-scale", images)
