"""`twins detect` and `twins evaluate` for detectors, with output for people and for programs."""

import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.cli.detect import FORMATS
from service.cli.files import SUFFIXES
from tests.end_to_end.test_cli import CAT, SOME_FAILED, USAGE, call, lines, printed, refused
from tests.golden import seeded
from tests.server import Server
from twins.card import Label
from twins.evaluation import coco

LABELS = (Label("cat"), Label("dog"), Label("bird"))
CATEGORIES = [{"id": 16, "name": "bird"}, {"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_under_the_images_name(detector, tmp_path, name):
    printed("detect", CAT, "--output", tmp_path, "--model", detector, "--format", name)
    assert (tmp_path / f"cat{SUFFIXES[FORMATS[name].media_types[0]]}").stat().st_size > 100


def test_the_table_has_the_best_objects(detector):
    shown = printed("detect", CAT, "--model", detector, "--max-detections", 20)
    assert len([line for line in shown.splitlines() if " to (" in line]) == 12
    assert "and 8 more" in shown


def test_the_output_for_programs_has_one_line_per_image(detector):
    (line,) = lines("detect", CAT, "--model", detector, "--json", "--threshold", "0", "--max-detections", 5)
    assert line["answer"]["size"] == {"height": 300, "width": 451}
    assert len(line["answer"]["detections"]) == 5
    assert "output" not in line or line["output"] is None


def test_the_model_that_ships_is_the_default():
    (line,) = lines("detect", "--json", CAT)
    assert line["answer"]["detections"][0]["label"] == "cat"


def test_a_bad_image_leaves_its_neighbours_their_objects(detector, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    shutil.copy(CAT, tmp_path)
    done = call("detect", tmp_path, "--model", detector, "--json")
    bad, good = map(json.loads, done.stdout.splitlines())
    assert done.returncode == SOME_FAILED
    assert bad["error"]
    assert good["answer"]["detections"]


REFUSALS = {
    "another task's model": (["--model", "twins_svt_nano"], "it cannot detect"),
    "a threshold out of range": (["--model", "MODEL", "--threshold", "2"], "--threshold"),
    "an unknown class": (["--model", "MODEL", "--classes", "dragon"], "no class 'dragon'"),
    "a backend that runs no detectors": (["--model", "MODEL", "--backend", "openvino"], "--backend torch or auto"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_impossible_options_are_wrong_usage(detector, case):
    flags, hint = REFUSALS[case]
    done = call("detect", CAT, *[detector if flag == "MODEL" else flag for flag in flags])
    assert done.returncode == USAGE
    assert hint in done.stderr.decode()


# ---------------------------------------------------------------------- evaluation


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Write a data set in COCO's form whose objects are anywhere."""
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    (root / "images").mkdir()
    images, annotations = [], []
    for number in range(4):
        height, width = 60 + 10 * number, 90
        name = f"{number}.png"
        Image.fromarray(seeded.image(name, height, width)).save(root / "images" / name)
        images.append({"id": 100 + number, "file_name": name, "height": height, "width": width})
        for category in (16, 17, 18):
            box = [10 * number, 5, 40, 30]
            corners = [box[0], 5, box[0] + 40, 5, box[0] + 40, 35, box[0], 35]
            common = {"image_id": 100 + number, "category_id": category, "iscrowd": 0}
            annotations.append(
                {"id": len(annotations) + 1, **common, "bbox": box, "area": 1200, "segmentation": [corners]}
            )
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def report(folder, detector) -> dict:
    (found,) = lines("evaluate", "--json", "--model", detector, folder)
    return found


def test_a_detector_is_measured_on_a_data_set_of_coco(report):
    figures = report["figures"]
    assert (report["task"], figures["images"]) == ("detect", 4)
    assert 0 <= figures["box"]["ap"] <= figures["box"]["ap50"] <= 1
    assert 0 <= figures["mask"]["ap"] <= 1
    assert [(each["label"], each["objects"]) for each in figures["classes"]] == [("cat", 4), ("dog", 4), ("bird", 4)]


def test_the_service_gives_the_list_that_has_the_same_precision(folder, detector, report):
    data = coco.read(folder, LABELS)
    results: list[dict] = []
    with Server("--model", detector) as server:
        for image in data.images:
            params = {"format": "coco", "image_id": str(image.image_id)}
            results += httpx.post(f"{server.http}/detect", content=image.path.read_bytes(), params=params).json()
    named = [{**each, "category_id": data.categories[each["category_id"]]} for each in results]
    figures = coco.score(data, named, LABELS)
    assert figures.box.ap == pytest.approx(report["figures"]["box"]["ap"], abs=1e-6)
    assert figures.mask.ap == pytest.approx(report["figures"]["mask"]["ap"], abs=1e-6)


def test_the_output_for_people_is_a_table_and_a_summary(folder, detector):
    shown = printed("evaluate", "--model", detector, folder)
    assert "boxes: AP " in shown
    assert "masks: AP " in shown
    assert "4 images" in shown


def test_a_bad_image_is_left_out_and_reported(folder, detector, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "images" / "0.png").write_text("no image")
    done = call("evaluate", "--model", detector, tmp_path / "copy")
    assert done.returncode == SOME_FAILED
    assert "0.png" in done.stderr.decode()


def test_a_folder_without_a_data_set_is_wrong_usage(detector, tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros(3))
    assert "instances_*.json" in refused(USAGE, "evaluate", "--model", detector, tmp_path)


def test_options_for_masks_do_not_fit_a_detector(folder, detector):
    assert "options for masks" in refused(USAGE, "evaluate", "--model", detector, "--multi-scale", folder)
