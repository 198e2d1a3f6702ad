"""The command line as its users and their scripts meet it: what is printed, where, and with which exit code."""

import io
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast
from unittest.mock import patch

import pytest
import torch
from safetensors import safe_open

import twins
from service.cli import main
from tests import checkpoints, segmentation
from tests.crafted import encoded
from tests.server import Server
from twins.zoo.models import DEFAULT_MODELS

ROOT = Path(__file__).parents[2]
CAT = ROOT / "examples" / "cat.jpg"
SHIPPED = ROOT / "twins" / "weights" / "twins_svt_nano.safetensors"
COMMANDS = (
    "serve",
    "classify",
    "segment",
    "embed",
    "evaluate",
    "export",
    "load",
    "models",
    "pull",
    "convert",
    "version",
)
SOME_FAILED, USAGE, MODEL = 1, 2, 3
TIMEOUT_S = 120


Done = subprocess.CompletedProcess[bytes]


def spawn(*arguments: object, stdin: bytes = b"") -> Done:
    """The installed command with those arguments."""
    command = [str(Path(sys.executable).with_name("twins")), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False)


def call(*arguments: object, stdin: bytes = b"") -> Done:
    """The same in this process, which has torch already."""
    streams = [io.TextIOWrapper(io.BytesIO(data), "utf-8", write_through=True) for data in (stdin, b"", b"")]
    command = ["twins", *map(str, arguments)]
    code: object = 0
    with patch.multiple(sys, argv=command, **dict(zip(("stdin", "stdout", "stderr"), streams, strict=True))):
        try:
            main()
        except SystemExit as error:
            code = error.code
    _, out, err = (cast(io.BytesIO, stream.buffer).getvalue() for stream in streams)
    return subprocess.CompletedProcess(command, code if isinstance(code, int) else 0, out, err)


def printed(*arguments: object, stdin: bytes = b"") -> str:
    """Return the output of a successful call."""
    done = call(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def lines(*arguments: object, stdin: bytes = b"") -> list[dict]:
    """Return the JSON lines that a successful call prints."""
    return [json.loads(line) for line in printed(*arguments, stdin=stdin).splitlines()]


def refused(code: int, *arguments: object, how: Callable[..., Done] = call) -> str:
    """Return the error message of a call with that exit code, which has no traceback and no output."""
    done = how(*arguments)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout, "Traceback" in said) == (code, b"", False), said
    return said


def best(line: dict) -> str:
    """The best label of an answer."""
    return line["predictions"][0]["label"]


# ---------------------------------------------------------------------- help


def test_help_names_every_command():
    shown = printed("--help")
    assert [name for name in COMMANDS if f"\n  {name} " not in shown] == []


def test_help_explains_the_exit_codes():
    assert "Exit codes: 0 success; 1 some images failed; 2 wrong usage" in printed("--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    assert printed(command, "-h").startswith(f"Usage: twins {command}")


def test_help_on_serving_names_variable_and_default_of_a_setting():
    assert "[TWINS_HTTP_PORT; default 8000]" in " ".join(printed("serve", "--help").split())


def test_version_is_the_packages():
    assert printed("version") == f"{twins.__version__}\n"


# ---------------------------------------------------------------------- models


def test_models_are_listed_one_per_line_whole_and_within_80_columns():
    heading, *entries = printed("models").splitlines()
    assert [entry.split()[0] for entry in entries] == twins.list_models()
    assert max(map(len, [heading, *entries])) <= 80
    assert len({entry.index(task) for entry in entries for task in (" classify ", " segment ") if task in entry}) == 1


def test_models_are_listed_for_programs():
    (listed,) = lines("models", "--json")
    assert list(listed) == twins.list_models()


def test_pulling_a_model_that_ships_prints_where_it_is():
    assert Path(printed("pull", "twins_svt_nano").strip()).samefile(SHIPPED)


def test_pulling_without_a_name_takes_the_models_that_ship():
    assert [Path(line).stem for line in printed("pull").splitlines()] == list(DEFAULT_MODELS.values())


def test_a_model_can_be_exported_when_it_is_pulled(tmp_path, monkeypatch):
    monkeypatch.setattr("twins.zoo.hub.cache_folder", lambda: tmp_path / "cache")
    printed("pull", "--export", f"tiny={segmentation.tiny(tmp_path)}")
    assert list((tmp_path / "cache" / "exported").glob("*/facts.json"))


# ---------------------------------------------------------------------- classify


@pytest.fixture
def folder(tmp_path):
    """Two images at different depths, and a file that is none."""
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    shutil.copy(CAT, images / "a cat.JPG")
    (images / "deep" / "grey.png").write_bytes(encoded("PNG"))
    (images / "notes.txt").write_text("no image")
    return images


@pytest.fixture
def broken(tmp_path):
    """A file that is called an image."""
    path = tmp_path / "broken.jpg"
    path.write_text("no image")
    return path


def test_an_image_is_classified_for_people(tmp_path):
    path = tmp_path / ("an image of a long name " * 5 + ".jpg")
    path.write_bytes(CAT.read_bytes())
    name, first, *_ = printed("classify", path).splitlines()
    assert name == str(path)
    assert "cat" in first.split()


def test_an_image_is_classified_for_programs():
    (line,) = lines("classify", "--json", CAT)
    assert (line["file"], best(line), line["error"]) == (str(CAT), "cat", None)


def test_a_folders_images_are_classified_at_any_depth_in_order(folder):
    found = [line["file"] for line in lines("classify", "--json", folder)]
    assert found == [str(folder / "a cat.JPG"), str(folder / "deep" / "grey.png")]


def test_a_hyphen_is_the_standard_input():
    assert best(*lines("classify", "--json", "-", stdin=CAT.read_bytes())) == "cat"


def test_more_images_than_a_batch_are_answered_one_by_one():
    found = lines("classify", "--json", "--batch", 2, *[CAT] * 5)
    assert [best(line) for line in found] == ["cat"] * 5


def test_top_k_limits_the_answers():
    (line,) = lines("classify", "--json", "--top-k", 2, CAT)
    assert len(line["predictions"]) == 2


@pytest.fixture
def mixed(broken):
    """A call with a bad file between good ones."""
    return call("classify", "--json", CAT, broken, CAT)


def test_a_bad_file_has_its_own_exit_code(mixed):
    assert mixed.returncode == SOME_FAILED


def test_a_bad_file_has_its_error_in_its_place(mixed):
    found = [json.loads(line)["error"] for line in mixed.stdout.splitlines()]
    assert [error and error.partition(";")[0] for error in found] == [
        None,
        "this is not an image of a known type",
        None,
    ]


def test_a_bad_file_is_reported_on_standard_error(broken):
    assert refused(SOME_FAILED, "classify", broken).startswith(f"{broken}: this is not an image of a known type")


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path):
    assert "absent.jpg: no such file or folder" in refused(USAGE, "classify", tmp_path / "absent.jpg")


def test_a_folder_without_an_image_is_wrong_usage(tmp_path):
    assert f"no image in {tmp_path}" in refused(USAGE, "classify", tmp_path)


def test_a_device_that_does_not_exist_is_wrong_usage():
    assert "--device warp" in refused(USAGE, "classify", "--device", "warp", CAT)


# ---------------------------------------------------------------------- checkpoints of one's own


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Names for thirteen classes, the first of them `thing 0`."""
    path = tmp_path_factory.mktemp("labels") / "things.txt"
    path.write_text("".join(f"thing {i}\n" for i in range(13)))
    return path


@pytest.fixture(scope="module")
def converted(tmp_path_factory, labels):
    """Convert weights that ship with other names. Return the file and the output."""
    path = tmp_path_factory.mktemp("converted") / "own.safetensors"
    return path, printed("convert", SHIPPED, path, "--labels", labels)


def test_a_conversion_says_what_it_found(converted):
    path, said = converted
    assert said.startswith(f"{path}: svt_nano, 13 classes, from ")


def test_a_converted_file_classifies_with_the_names_in_it(converted):
    assert best(*lines("classify", "--json", "--model", f"own={converted[0]}", CAT)).startswith("thing ")


def test_an_own_checkpoint_is_classified_with_the_labels_given(labels):
    (line,) = lines("classify", "--json", "--model", f"own={SHIPPED}", "--labels", labels, CAT)
    assert best(line).startswith("thing ")


@pytest.mark.parametrize("command", ["classify", "embed"])
def test_defaults_in_the_preprocessing_of_an_own_checkpoint_are_never_silent(command):
    (said,) = call(command, "--model", f"own={SHIPPED}", CAT).stderr.decode().splitlines()
    assert said.startswith("twins: own: defaults are used for interpolation, mean, std, which may be wrong")
    assert "`twins convert` stores the right values" in said
    assert call(command, CAT).stderr == b""


def test_labels_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "few.txt").write_text("only\n")
    said = refused(MODEL, "classify", "--model", f"own={SHIPPED}", "--labels", tmp_path / "few.txt", CAT)
    assert "1 labels were given for a network of 13 classes" in said


def test_a_conversion_does_not_overwrite(converted):
    assert "--force overwrites it" in refused(USAGE, "convert", SHIPPED, converted[0])


def test_a_conversion_overwrites_with_the_flag_force(tmp_path):
    target = tmp_path / "own.safetensors"
    target.write_text("precious")
    printed("convert", SHIPPED, target, "--force", "--half")
    with safe_open(target, framework="pt") as file:
        assert file.get_tensor("head.weight").dtype == torch.float16


def test_a_conversion_to_another_format_is_wrong_usage(tmp_path):
    assert "must end in .safetensors" in refused(USAGE, "convert", SHIPPED, tmp_path / "own.pth")


def test_a_conversion_into_a_folder_that_is_not_there_is_refused(tmp_path):
    target = tmp_path / "absent" / "own.safetensors"
    assert f"{target}: cannot write" in refused(MODEL, "convert", SHIPPED, target)


def test_a_conversion_names_the_file_that_is_wrong(tmp_path):
    (tmp_path / "few.txt").write_text("only\n")
    said = refused(MODEL, "convert", SHIPPED, tmp_path / "own.safetensors", "--labels", tmp_path / "few.txt")
    assert said.startswith(f"twins: {SHIPPED}: 1 labels were given")


def test_labels_that_are_not_there_are_refused_in_plain_words():
    said = refused(MODEL, "classify", "--model", f"own={SHIPPED}", "--labels", "/nope", CAT)
    assert "/nope: cannot read the labels: No such file or directory\n" in said


class Hook:
    """A class of a user's training code."""


@pytest.fixture
def training(tmp_path):
    """A training checkpoint that holds an object of a class that is not installed elsewhere."""
    path = tmp_path / "epoch_3.pth"
    state = checkpoints.seeded(checkpoints.TINY_SVT, classes=3)
    torch.save({"state_dict": state, "hooks": [Hook()], "epoch": 3}, path)
    return path


def test_a_checkpoint_with_foreign_objects_is_refused_with_the_remedy(training):
    assert "`twins convert epoch_3.pth" in refused(MODEL, "classify", "--model", f"own={training}", CAT)


def test_a_checkpoint_with_foreign_objects_can_be_converted(training, tmp_path):
    printed("convert", training, tmp_path / "own.safetensors")
    (line,) = lines("classify", "--json", "--model", f"own={tmp_path / 'own.safetensors'}", CAT)
    assert len(line["predictions"]) == 3


def test_a_whole_pickled_model_can_be_converted(tmp_path):
    torch.save(twins.load("twins_svt_nano"), tmp_path / "model.pth")
    printed("convert", tmp_path / "model.pth", tmp_path / "own.safetensors", "--size", 112)
    models = (f"own={tmp_path / 'own.safetensors'}", "twins_svt_nano")
    found = [lines("classify", "--json", "--model", name, CAT) for name in models]
    scores = [[each["score"] for each in line["predictions"]] for (line,) in found]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_conversion_stores_preprocessing_and_says_where_each_value_comes_from(tmp_path):
    target = tmp_path / "own.safetensors"
    said = printed("convert", SHIPPED, target, "--mean", "0.5/0.5/0.5", "--std", "0.25/0.25/0.25", "--crop", 1)
    assert said.splitlines()[1] == (
        "preprocessing: size 112 (checkpoint), resized short side 112 (flag), interpolation bicubic (default), "
        "mean 0.5/0.5/0.5 (flag), std 0.25/0.25/0.25 (flag)"
    )
    with safe_open(target, framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["twins.mean"], metadata["twins.crop"]) == ("[0.5, 0.5, 0.5]", "1.0")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--size", "8"], "size is 8; it must be from 32 to 4096 pixels"),
        (["--mean", "0.5"], "'0.5' is not a value for mean; write it like 0.5/0.5/0.5"),
        (["--std", "58.4/57.1/57.4"], "Divide values for pixels from 0 to 255 by 255"),
        (["--interpolation", "nearest"], "use bicubic or bilinear"),
    ],
)
def test_a_conversion_with_wrong_preprocessing_is_wrong_usage(tmp_path, flags, words):
    assert words in refused(USAGE, "convert", SHIPPED, tmp_path / "own.safetensors", *flags)


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["serv"], USAGE, "Did you mean 'serve'?"),
        (["classify", "--modle", "x", CAT], USAGE, "Did you mean '--model'?"),
        (["serve", "--max-qeue", "3"], USAGE, "'--max-queue'"),
        (["serve", "--max-queue", "many"], USAGE, "--max-queue: "),
        (["serve", "--device", "cpu", "--model", "twins_svt_smal"], MODEL, "did you mean twins_svt_small?"),
        (["classify", "--model", "twins_svt_smal", CAT], MODEL, "did you mean twins_svt_small?"),
        (["pull", "twins_svt_nanno"], MODEL, "did you mean twins_svt_nano?"),
        (["classify", "--top-k", "0", CAT], USAGE, "--top-k"),
        (["classify"], USAGE, "IMAGE"),
        (["classify", "--model", f"own={CAT}.pth", CAT], MODEL, "No such file"),
        (["classify", "--model", f"own={CAT}", CAT], MODEL, "this is an image, not a checkpoint"),
        (["classify", "--model", f"own={CAT.parent}", CAT], MODEL, "Give the checkpoint file in it instead"),
        (["serve", "--model", f"own={CAT.parent}"], MODEL, "Give the checkpoint file in it instead"),
        (["serve", "--preprocess", "twins_svt_nano:size=big"], USAGE, "'big' is not a value for size"),
    ],
)
def test_a_mistake_has_its_exit_code_and_its_remedy(arguments, code, hint):
    assert hint in refused(code, *arguments)


def test_the_installed_command_classifies():
    assert best(json.loads(spawn("classify", "--json", CAT).stdout)) == "cat"


def test_the_installed_command_has_the_exit_codes():
    assert "did you mean twins_svt_nano?" in refused(MODEL, "pull", "twins_svt_nanno", how=spawn)


@pytest.mark.parametrize("port", ["--http-port", "--grpc-port"])
def test_a_port_that_is_taken_is_a_wrong_setting(port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        others = {"--http-port": 0, "--grpc-port": 0} | {port: number}
        said = refused(USAGE, "serve", *(part for pair in others.items() for part in pair), how=spawn)
    remedy = f"another program uses this port; choose another one with {port}"
    assert said.strip() == f"twins: cannot listen on 127.0.0.1:{number}: {remedy}"


@pytest.fixture(scope="module")
def unstartable(tmp_path_factory):
    """A service whose checkpoint is none."""
    path = tmp_path_factory.mktemp("unstartable") / "broken.pth"
    path.write_text("no checkpoint")
    with Server("--model", f"own={path}", wait=False) as server:
        server.process.wait(TIMEOUT_S)
        yield server


def test_a_broken_checkpoint_ends_the_service_with_its_exit_code(unstartable):
    assert unstartable.process.returncode == MODEL


def test_a_broken_checkpoint_is_named_in_the_log(unstartable):
    (event,) = unstartable.events("cannot start")
    assert "broken.pth: this is a text file, not a checkpoint" in event["detail"]
    (last,) = unstartable.events("the service cannot start")
    assert last["reasons"] == {"worker-0": event["detail"]}


def test_a_broken_checkpoint_leaves_no_traceback(unstartable):
    assert "Traceback" not in unstartable.log()
