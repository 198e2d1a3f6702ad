"""Exported networks on disk: written once, read without PyTorch, and never trusted if they changed."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import segmentation
from tests.disk import fill, small_disk
from twins.errors import ExportFailed, WeightsUnavailable
from twins.runtime import exports
from twins.zoo.models import ModelReference


class Numbers:
    """A format whose graph is the number of the network's parameters."""

    def __init__(self, name="numbers-1", code=()):
        self.name, self.code, self.exported = name, code, 0

    def export(self, network):
        self.exported += 1
        return sum(each.numel() for each in network.parameters())

    def save(self, graph, folder):
        (folder / "graph.json").write_text(json.dumps(graph))

    def open(self, folder):
        return json.loads((folder / "graph.json").read_text())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "exports_folder", lambda: tmp_path / "exported")
    return tmp_path / "exported"


@pytest.fixture
def reference(tmp_path):
    return ModelReference("tiny", segmentation.tiny(tmp_path))


def only(folder):
    (found,) = (each for each in folder.iterdir() if each.is_dir())
    return found


def test_a_network_is_exported_once(folder, reference):
    first, second = Numbers(), Numbers()
    assert exports.load_exported(reference, first) == exports.load_exported(reference, second)
    assert (first.exported, second.exported) == (1, 0)


def test_what_was_exported_with_the_installation_is_read_from_there(folder, reference, tmp_path, monkeypatch):
    exports.load_exported(reference, Numbers())
    monkeypatch.setattr(exports, "INSTALLED", folder.rename(tmp_path / "installed"))
    later = Numbers()
    exports.load_exported(reference, later)
    assert later.exported == 0
    assert not folder.exists()


def test_exported_networks_are_read_from_a_folder_that_is_read_only(folder, reference, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    exports.load_exported(reference, Numbers())
    monkeypatch.setattr(Path, "touch", refuse)
    later = Numbers()
    exports.load_exported(reference, later)
    assert later.exported == 0


def test_another_version_of_the_library_exports_again(folder, reference):
    exports.load_exported(reference, Numbers())
    newer = Numbers("numbers-2")
    exports.load_exported(reference, newer)
    assert newer.exported == 1


def test_another_checkpoint_exports_again(folder, reference, tmp_path):
    exports.load_exported(reference, Numbers())
    other = Numbers()
    exports.load_exported(ModelReference("tiny", segmentation.tiny(tmp_path, classes=4)), other)
    assert other.exported == 1


@pytest.mark.parametrize("file", ["runtime/onnx_graph.py", "runtime/record.py"])
def test_a_graph_depends_on_the_files_that_its_format_names(folder, reference, file):
    exports.load_exported(reference, Numbers())
    other = Numbers(code=(file,))
    exports.load_exported(reference, other)
    assert other.exported == 1


def test_a_graph_depends_on_the_classes_that_its_format_extends():
    class Derived(Numbers):
        pass

    assert [source.split()[1] for source in exports.sources(Derived)] == ["Derived(Numbers):", "Numbers:"]


def test_other_code_of_the_network_exports_again(folder, reference, monkeypatch):
    exports.load_exported(reference, Numbers())
    monkeypatch.setattr(exports, "digest_of_code", lambda _: "other")
    other = Numbers()
    exports.load_exported(reference, other)
    assert other.exported == 1


def test_a_changed_file_is_exported_again(folder, reference, caplog):
    card, graph = exports.load_exported(reference, Numbers())
    (only(folder) / "graph.json").write_text("7")
    again = Numbers()
    with caplog.at_level(logging.WARNING):
        assert exports.load_exported(reference, again) == (card, graph)
    assert again.exported == 1
    assert "damaged" in caplog.text


def test_a_network_is_exported_at_each_start_if_it_cannot_be_stored(folder, reference, caplog):
    folder.parent.joinpath("exported").write_text("in the way of the folder")
    each = Numbers()
    with caplog.at_level(logging.WARNING):
        exports.load_exported(reference, each)
        exports.load_exported(reference, each)
    assert each.exported == 2
    assert "every start exports them" in caplog.text


def test_a_full_disk_costs_an_export_at_each_start_and_keeps_no_half_of_one(folder, reference, caplog):
    folder.mkdir()
    with small_disk(folder) as disk:
        fill(disk)
        assert exports.load_exported(reference, Numbers())
        assert "No space left on device" in caplog.text
        assert not [path for path in disk.iterdir() if path.is_dir()]


def test_an_export_that_fails_leaves_nothing(folder, reference):
    class Broken(Numbers):
        def export(self, network):
            raise ExportFailed("it gives other answers")

    with pytest.raises(ExportFailed):
        exports.load_exported(reference, Broken())
    assert not [each for each in folder.iterdir() if each.is_dir()]


def test_the_exports_that_were_not_used_longest_are_deleted(folder, reference, monkeypatch):
    monkeypatch.setattr(exports, "MOST_FOLDERS", 2)
    for version in (1, 2, 3):
        exports.load_exported(reference, Numbers(f"numbers-{version}"))
        os.utime(max(folder.iterdir(), key=lambda each: each.stat().st_mtime_ns), (version, version))
    first, last = Numbers("numbers-1"), Numbers("numbers-3")
    exports.load_exported(reference, last)
    exports.load_exported(reference, first)
    assert (first.exported, last.exported) == (1, 0)


def test_an_exported_network_runs_without_pytorch(tmp_path):
    """The first process exports the classifier that ships, the second one runs it."""
    code = (
        "import sys; from twins.runtime.choice import open_backend; from twins.runtime.plan import Plan;"
        "from twins.zoo.models import parse_reference;"
        "open_backend(Plan(backend='openvino')).load(parse_reference('twins_svt_nano')).warm_up(1);"
        "print('torch' in sys.modules)"
    )
    environ = {**os.environ, "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    ran = [subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert ran == ["True\n", "False\n"]


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_not_stored_under_the_old_name(folder, reference):
    class Replaced(Numbers):
        def export(self, network):
            with reference.checkpoint.open("ab") as file:
                file.write(b"\0")
            return super().export(network)

    with pytest.raises(WeightsUnavailable, match="replaced while it was read"):
        exports.load_exported(reference, Replaced())
    assert not [each for each in folder.iterdir() if each.is_dir()]


def test_what_a_killed_process_left_is_deleted_after_a_day(folder, reference):
    left, new = folder / f"{exports.UNFINISHED}old", folder / f"{exports.UNFINISHED}new"
    for each in (left, new):
        each.mkdir(parents=True)
    os.utime(left, (0, 0))
    exports.load_exported(reference, Numbers())
    assert (left.exists(), new.exists()) == (False, True)


def test_all_of_the_code_that_a_graph_depends_on_is_found():
    with pytest.raises(AssertionError, match="matches no file"):
        exports.digest_of_code(("network/no_such_file.py",))
    assert exports.digest_of_code(exports.CODE)
