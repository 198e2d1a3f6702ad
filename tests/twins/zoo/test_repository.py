"""The layout of a model repository, and the files that say how a model is served."""

from pathlib import Path

import pytest

from twins.errors import RepositoryError
from twins.preprocessing import NO_VALUES, Preprocessing
from twins.running import AS_THE_OTHERS, Running
from twins.zoo import repository


def add(folder: Path, model: str, version: str, file: str = "checkpoint.pth") -> Path:
    """Put an empty checkpoint into a repository."""
    path = folder / model / version / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_versions_are_numbers_in_their_order_and_other_folders_and_files_are_ignored(tmp_path):
    for version in ("2", "10", "1", "01", "0", "next", ".3", "-1"):
        add(tmp_path, "pets", version)
    add(tmp_path, ".hidden", "1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").touch()
    assert repository.find(tmp_path) == {"pets": ("1", "2", "10")}


def test_only_the_newest_version_is_served(tmp_path):
    add(tmp_path, "pets", "1"), add(tmp_path, "pets", "2"), add(tmp_path, "cars", "1")
    assert [each.key for each in repository.references(tmp_path)] == ["cars", "pets@2"]


def test_a_model_file_can_ask_for_more_versions(tmp_path):
    for version in "123":
        add(tmp_path, "pets", version)
    (tmp_path / "pets" / "model.toml").write_text("versions = 2")
    assert [each.key for each in repository.references(tmp_path)] == ["pets@2", "pets@3"]


def test_a_model_without_files_is_served_like_the_others(tmp_path):
    path = add(tmp_path, "pets", "1")
    found = repository.reference(tmp_path, "pets", "1")
    assert (found.checkpoint, found.labels_file, found.preprocessing) == (path, None, NO_VALUES)
    assert found.running == AS_THE_OTHERS


def test_a_model_file_has_preprocessing_limits_and_a_backend(tmp_path):
    add(tmp_path, "pets", "1")
    (tmp_path / "pets" / "model.toml").write_text(
        'max_batch = 4\nmax_delay_ms = 2.5\nbackend = "torch"\nprecision = "bfloat16"\n'
        "[preprocessing]\nsize = 96\ncrop = 0.8\nmean = [0.5, 0.5, 0.5]\n"
    )
    found = repository.reference(tmp_path, "pets", "1")
    assert found.running == Running(4, 2.5, "torch", "bfloat16")
    assert found.preprocessing == Preprocessing(size=96, crop=0.8, mean=(0.5, 0.5, 0.5))


def test_files_beside_a_checkpoint_come_before_those_of_the_model(tmp_path):
    beside = add(tmp_path, "pets", "2").parent
    add(tmp_path, "pets", "1")
    for folder, batch in ((tmp_path / "pets", 4), (beside, 8)):
        (folder / "model.toml").write_text(f"max_batch = {batch}")
        (folder / "labels.txt").touch()
    first, second = (repository.reference(tmp_path, "pets", version) for version in "12")
    assert (first.running.max_batch, first.labels_file) == (4, tmp_path / "pets" / "labels.txt")
    assert (second.running.max_batch, second.labels_file) == (8, beside / "labels.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch = 0", "max_batch"),
        ("max_batches = 1", "max_batches"),
        ("versions = 0", "versions"),
        ('backend = "fastest"', "backend"),
        ("max_delay_ms = -1", "max_delay_ms"),
        ("[preprocessing]\nsize = 3", "size is 3"),
        ("[preprocessing]\nside = 96", "side"),
        ('[preprocessing]\ninterpolation = "nearest"', "interpolation"),
        ("not toml", "model.toml"),
    ],
)
def test_a_wrong_value_is_refused_with_the_file_and_its_name(tmp_path, text, message):
    add(tmp_path, "pets", "1")
    (tmp_path / "pets" / "model.toml").write_text(text)
    with pytest.raises(RepositoryError, match=message) as error:
        repository.references(tmp_path)
    assert "model.toml" in str(error.value)


@pytest.mark.parametrize(("files", "message"), [((), "no checkpoint"), (("a.pth", "b.bin"), "several checkpoints")])
def test_a_version_has_one_checkpoint(tmp_path, files, message):
    (tmp_path / "pets" / "1").mkdir(parents=True)
    for file in files:
        add(tmp_path, "pets", "1", file)
    with pytest.raises(RepositoryError, match=message):
        repository.references(tmp_path)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(RepositoryError, match="cannot read the model repository"):
        repository.find(tmp_path / "none")


def test_the_fingerprint_changes_while_a_file_grows(tmp_path):
    path = add(tmp_path, "pets", "1")
    before = repository.fingerprint(tmp_path, "pets", "1")
    path.write_bytes(b"more")
    assert repository.fingerprint(tmp_path, "pets", "1") != before
