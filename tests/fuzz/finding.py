"""A finding: an input that raises an error that its target does not allow."""

import hashlib
import traceback
from pathlib import Path

from tests.fuzz.target import FOLDER

ROOT = FOLDER.parents[1]


def place(error: BaseException) -> str:
    """Return the kind of an error and the innermost line of the product that it passed; the line finds duplicates."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT) and ".venv" not in frame.filename]
    last = next((frame for frame in reversed(own) if "tests" not in Path(frame.filename).parts), own[-1])
    return f"{type(error).__name__}-{Path(last.filename).stem}-{last.lineno}"


def save(error: BaseException, data: bytes, folder: Path) -> None:
    """Write an input and its traceback. A shorter input replaces a longer one of the same place."""
    name = place(error)
    path = folder / name
    if path.exists() and path.stat().st_size <= len(data):
        return
    path.write_bytes(data)
    said = "".join(traceback.format_exception(error))
    path.with_name(f"{name}.txt").write_text(f"{hashlib.sha256(data).hexdigest()}\n{data[:2000]!r}\n\n{said}", "utf-8")
