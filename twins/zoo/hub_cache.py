"""The cache of the Hugging Face hub: what is removed from it, so that it neither fails for ever nor fills the disk."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

INCOMPLETE = ".incomplete"


def folders() -> tuple[Path, ...]:
    """Return the folders whose files can be downloaded again: the cache of the hub, and that of this project."""
    from huggingface_hub import constants  # imported here, since only downloads need it

    return Path(constants.HF_HUB_CACHE), Path(constants.HF_HOME) / "twins"


def remove_file(path: Path) -> bool:
    """Remove a damaged file from a cache, and return whether that was possible. A file elsewhere is left alone.

    The names in the cache of the hub are links to a file that is named by its hash. A link without a file counts as
    missing, so it stays for the next download.
    """
    content = path.resolve()
    if not any(content.is_relative_to(folder.resolve()) for folder in folders()):
        return False
    try:
        content.unlink()
    except OSError:
        return False
    return True


def remove_leftovers(repo: str) -> None:
    """Remove what downloads of a repository left when they were killed, which no other download continues.

    The library holds a lock for each file that it downloads, so a part whose lock is free belongs to no process.
    """
    from huggingface_hub.file_download import repo_folder_name

    cache, _ = folders()
    name = repo_folder_name(repo_id=repo, repo_type="model")
    for part in incomplete(cache / name / "blobs"):
        lock = cache / ".locks" / name / f"{part.name.partition('.')[0]}.lock"
        with suppress(Timeout, OSError):  # in use, or the cache is read-only
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, blocking=False):
                part.unlink(missing_ok=True)


def incomplete(folder: Path) -> Iterator[Path]:
    """Yield the parts of files in a folder, which may not exist."""
    return folder.glob(f"*{INCOMPLETE}")
