"""The run-time folder: private, locked, restored when it is deleted, and removed after a supervisor was killed."""

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from service.processes import runtime_folder
from service.settings import SettingsError

CREATE_AND_DIE = """
import os
from service.processes import runtime_folder
print(runtime_folder.create().path, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def parent(short_path, monkeypatch):
    """Return the directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(short_path))
    return short_path


@pytest.fixture
def folder(parent):
    made = runtime_folder.create()
    yield made
    made.remove()


def test_a_folder_is_for_its_owner_alone(folder):
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_folder_is_locked_so_that_systemd_does_not_clean_it(folder):
    with pytest.raises(BlockingIOError):
        fcntl.flock(os.open(folder.path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_removed_folder_leaves_nothing(parent):
    runtime_folder.create().remove()
    assert list(parent.iterdir()) == []


def test_a_folder_that_was_deleted_comes_back_private_and_locked(folder):
    shutil.rmtree(folder.path)
    folder.restore()
    assert folder.metrics.is_dir()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert runtime_folder.try_lock(folder.path) is None


def test_a_folder_whose_parent_was_deleted_too_comes_back(folder):
    shutil.rmtree(folder.path.parent)
    folder.restore()
    assert folder.metrics.is_dir()


def test_a_folder_whose_content_was_deleted_is_filled_again(folder):
    folder.metrics.rmdir()
    folder.restore()
    assert folder.metrics.is_dir()


def test_the_next_start_removes_the_folder_of_a_supervisor_that_was_killed(parent):
    ran = subprocess.run(
        [sys.executable, "-c", CREATE_AND_DIE],
        env={**os.environ, "TMPDIR": str(parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    abandoned = Path(ran.stdout.strip())
    assert abandoned.is_dir()
    runtime_folder.create().remove()
    assert not abandoned.exists()


def test_the_folder_of_a_running_service_is_left_alone(folder, parent):
    runtime_folder.create().remove()
    assert folder.path.is_dir()


def test_folders_that_no_service_made_are_left_alone(parent):
    (parent / "twins-weights").mkdir()
    (parent / "twins-link").symlink_to(parent / "twins-weights")
    runtime_folder.create().remove()
    assert {path.name for path in parent.iterdir()} == {"twins-weights", "twins-link"}


def test_too_long_a_path_for_sockets_is_refused_with_what_helps(parent, monkeypatch):
    long = parent / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(SettingsError, match="TMPDIR"):
        runtime_folder.create()
    assert list(long.iterdir()) == []
