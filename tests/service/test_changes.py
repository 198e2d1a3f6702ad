"""Changes of files, as the system shows them."""

import asyncio
import os

import pytest

from service.changes import WatchedFiles


@pytest.fixture
def path(tmp_path):
    """Return a file with some content."""
    (tmp_path / "file").write_text("one")
    return tmp_path / "file"


def test_a_file_that_stays_the_same_has_not_changed(path):
    watched = WatchedFiles(path)
    assert not watched.have_changed()


def test_a_change_is_noticed_once(path):
    watched = WatchedFiles(path)
    path.write_text("three")
    assert watched.have_changed()
    assert not watched.have_changed()


def test_a_replacement_of_the_same_size_and_time_is_noticed(path, tmp_path):
    watched = WatchedFiles(path)
    (tmp_path / "next").write_text("two")
    times = path.stat()
    os.utime(tmp_path / "next", ns=(times.st_atime_ns, times.st_mtime_ns))
    (tmp_path / "next").rename(path)
    assert watched.have_changed()


def test_another_target_of_a_link_is_noticed(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    watched = WatchedFiles(link)
    (tmp_path / "next").write_text("two")
    (tmp_path / "new-link").symlink_to(tmp_path / "next")
    (tmp_path / "new-link").rename(link)
    assert watched.have_changed()


def test_a_file_that_vanishes_or_appears_has_changed(path):
    watched = WatchedFiles(path)
    path.unlink()
    assert watched.have_changed()
    path.write_text("one")
    assert watched.have_changed()


def test_any_of_several_files_counts(path, tmp_path):
    watched = WatchedFiles(path, tmp_path / "absent")
    (tmp_path / "absent").write_text("here")
    assert watched.have_changed()


async def test_every_change_calls_the_function(path):
    changed = asyncio.Event()
    following = asyncio.create_task(WatchedFiles(path).follow(changed.set, every_s=0.01))
    async with asyncio.timeout(10):
        for text in ("second", "the third"):
            changed.clear()
            path.write_text(text)
            await changed.wait()
    following.cancel()
