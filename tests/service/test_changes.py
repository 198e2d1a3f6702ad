"""Changes of files, as the system shows them."""

import asyncio
import os
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.changes import FollowedFiles
from service.settings import SettingsError


@pytest.fixture
def path(tmp_path):
    """Return a file with some content."""
    (tmp_path / "file").write_text("one")
    return tmp_path / "file"


def watch(*paths: Path, read=lambda: "content") -> FollowedFiles[str]:
    """Return files that are followed from now on."""
    return FollowedFiles(*paths, read=read, problem="the file is broken")


def has_changed(files: FollowedFiles[str]) -> bool:
    """Return whether the files would be read again, and count them as read."""
    found = files.read_changed()
    if found:
        files.seen = found[0]
    return found is not None


def test_a_file_that_stays_the_same_has_not_changed(path):
    watched = watch(path)
    assert not has_changed(watched)


def test_a_change_is_noticed_once(path):
    watched = watch(path)
    path.write_text("three")
    assert has_changed(watched)
    assert not has_changed(watched)


def test_a_replacement_of_the_same_size_and_time_is_noticed(path, tmp_path):
    watched = watch(path)
    (tmp_path / "next").write_text("two")
    times = path.stat()
    os.utime(tmp_path / "next", ns=(times.st_atime_ns, times.st_mtime_ns))
    (tmp_path / "next").rename(path)
    assert has_changed(watched)


def test_another_target_of_a_link_is_noticed(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    watched = watch(link)
    (tmp_path / "next").write_text("two")
    (tmp_path / "new-link").symlink_to(tmp_path / "next")
    (tmp_path / "new-link").rename(link)
    assert has_changed(watched)


def test_a_file_that_vanishes_or_appears_has_changed(path):
    watched = watch(path)
    path.unlink()
    assert has_changed(watched)
    path.write_text("one")
    assert has_changed(watched)


def test_any_of_several_files_counts(path, tmp_path):
    watched = watch(path, tmp_path / "absent")
    (tmp_path / "absent").write_text("here")
    assert has_changed(watched)


async def test_every_change_is_read_in_a_thread_and_applied_in_the_loop(path):
    applied = asyncio.Queue()
    files = watch(path, read=lambda: (path.read_text(), threading.current_thread()))
    following = asyncio.create_task(
        files.follow(lambda found: applied.put_nowait((*found, threading.current_thread())), every_s=0.01)
    )
    async with asyncio.timeout(10):
        for text in ("second", "the third"):
            path.write_text(text)
            while (found := await applied.get())[0] != text:  # half of it is read if the thread is quick
                pass
            assert found[1] is not threading.main_thread() is found[2]
    following.cancel()


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), SettingsError("broken")], ids=["os", "content"])
@pytest.mark.parametrize("part", ["read", "apply"])
async def test_what_fails_for_a_moment_is_tried_again_though_the_file_stays_as_it_is(path, error, part):
    failing, applied = {part}, []

    def act(name: str) -> str:
        if name in failing:
            raise error
        return path.read_text()

    files = watch(path, read=lambda: act("read"))
    path.write_text("three")
    with capture_logs() as lines:
        for _ in range(3):
            await files.update(lambda _: applied.append(act("apply")))
        failing.clear()
        for _ in range(3):
            await files.update(lambda _: applied.append(act("apply")))
    assert applied == ["three"]
    assert [(line["event"], line["detail"]) for line in lines] == [("the file is broken", str(error))]


async def test_another_error_is_logged_as_well(path):
    errors = [SettingsError(each) for each in ("a", "a", "b")]

    def read() -> str:
        raise errors.pop(0)

    files = watch(path, read=read)
    path.unlink()
    with capture_logs() as lines:
        for _ in range(3):
            await files.update(lambda _: None)
    assert [line["detail"] for line in lines] == ["a", "b"]
