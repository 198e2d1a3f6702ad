"""`python -m tools.release` as a whole, in a repository of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.documents import ROOT
from tools.release import image, source


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with the files of this one that the program reads before it builds anything."""
    for path in source.tracked():
        if path.startswith("tools/") or path in ("twins/__init__.py", "CHANGELOG.md"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
    author = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    for command in (("init", "--quiet"), ("add", "."), (*author, "commit", "--quiet", "--message", "all")):
        source.git(*command, root=tmp_path)
    return tmp_path


def test_files_that_differ_from_the_commit_are_not_released(repository):
    (repository / "CHANGELOG.md").write_text("# Changes\n")
    environ = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, "-m", "tools.release", "--no-image"]
    ran = subprocess.run(command, cwd=repository, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "release: these files differ from the commit:\n M CHANGELOG.md" in ran.stderr
    assert not (repository / "dist").exists()


def test_without_a_docker_engine_there_is_no_image(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert image.engine() is None
    monkeypatch.undo()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    assert image.engine() is None
