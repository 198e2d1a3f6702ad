"""The files that a release is built from: those that git tracks, without anything else that lies in the checkout."""

import shutil
import subprocess
from pathlib import Path

from tools.documents import ROOT


def git(*arguments: str, root: Path = ROOT) -> str:
    """Return the output of git in a checkout."""
    ran = subprocess.run(("git", "-C", root, *arguments), capture_output=True, text=True, check=True)  # noqa: S603, S607
    return ran.stdout


def changed(root: Path = ROOT) -> list[str]:
    """Return the tracked files that differ from the commit."""
    return git("status", "--porcelain", "--untracked-files=no", root=root).splitlines()


def commit(root: Path = ROOT) -> str:
    """Return the hash of the commit."""
    return git("rev-parse", "HEAD", root=root).strip()


def commit_time(root: Path = ROOT) -> int:
    """Return the Unix time of the commit, which files in archives get as their time."""
    return int(git("log", "-1", "--format=%ct", root=root))


def tracked(root: Path = ROOT) -> list[str]:
    """Return the paths of the files in the checkout that git tracks."""
    listed = git("ls-files", "-z", root=root).split("\0")
    return [path for path in listed if path and (root / path).is_file()]


def copy(target: Path, root: Path = ROOT) -> None:
    """Copy the tracked files to a folder, with rights that do not depend on this machine."""
    for path in tracked(root):
        copied = target / path
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, copied)
        copied.chmod(0o755 if (root / path).stat().st_mode & 0o100 else 0o644)
