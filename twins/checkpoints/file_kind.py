"""Recognises the kind of a file by its content, so that the error for a wrong file says what it is."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twins.errors import CheckpointError

FileKind = Literal["safetensors", "pickle"]

HEAD = 1024  # bytes that are read to recognise a file
LENGTH = 8  # bytes of the number that starts a safetensors file: the length of the JSON header behind it
MAX_HEADER = 100_000_000  # bytes of that header, as the format limits it
PICKLE_PROTOCOLS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
TORCH_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # near the start of a pickle that an old `torch.save` wrote
TEXT_CONTROLS = b"\t\n\r\f\b\x1b"

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files that hold the weights in a folder of the Hugging Face hub."""

DOWNLOAD_AGAIN = "Download or copy it again."
NO_VALUES = "is quantised, complex, sparse or without values. Save the state dict of the ordinary network."
SAVE_STATE_DICT = "Save the weights with `torch.save(model.state_dict(), PATH)`."


@dataclass(frozen=True)
class WrongFile:
    """A kind of file that is often given instead of a checkpoint, recognised by its first bytes."""

    starts_with: bytes  # in lower case
    description: str
    remedy: str


WRONG_FILES = (
    WrongFile(b"<!doctype html", "an HTML page", "The download returned a web page instead of the file. Try it again."),
    WrongFile(b"<html", "an HTML page", "The download returned a web page instead of the file. Try it again."),
    WrongFile(
        b"version https://git-lfs", "a Git LFS pointer", "Fetch the file that it stands for with `git lfs pull`."
    ),
    WrongFile(b"\x1f\x8b", "a gzip archive", "Unpack it, and give the checkpoint in it."),
    WrongFile(b"\x89hdf", "an HDF5 file", "Only PyTorch and safetensors files can be read."),
    WrongFile(b"\x89png", "an image", "Give a checkpoint as NAME=FILE."),
    WrongFile(b"\xff\xd8\xff", "an image", "Give a checkpoint as NAME=FILE."),
)


def identify(path: Path) -> FileKind:
    """Return how to read the file at `path`, whatever its suffix is.

    Raises CheckpointError, which says what the file is and what to do, if it cannot be a checkpoint.
    """
    if path.is_dir():
        raise CheckpointError(f"this is a directory. {advice_for_directory(path)}")
    if not path.exists():
        raise CheckpointError("no such file")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise CheckpointError(f"the file cannot be read: {error.strerror}") from error
    return identify_head(head, path)


def identify_head(head: bytes, path: Path) -> FileKind:
    """Return how to read a file that starts with `head`. Raises CheckpointError."""
    if not head:
        raise CheckpointError(f"the file is empty. {DOWNLOAD_AGAIN}")
    start = head.lstrip().lower()
    if wrong := next((each for each in WRONG_FILES if start.startswith(each.starts_with)), None):
        raise CheckpointError(f"this is {wrong.description}, not a checkpoint. {wrong.remedy}")
    if head[LENGTH : LENGTH + 1] == b"{" and int.from_bytes(head[:LENGTH], "little") <= MAX_HEADER:
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        check_archive(path)
    elif head.startswith(PICKLE_PROTOCOLS) and TORCH_MAGIC not in head[:64]:
        raise CheckpointError(f"this is a plain pickle, which `torch.save` did not write. {SAVE_STATE_DICT}")
    elif is_text(head):
        raise CheckpointError("this is a text file, not a checkpoint. Give a PyTorch or safetensors file.")
    return "pickle"


def check_archive(path: Path) -> None:
    """Raise CheckpointError unless a zip archive is one that `torch.save` writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"the file is damaged or incomplete. {DOWNLOAD_AGAIN}") from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            f"this is a TorchScript file, which holds a program and not a state dict. {SAVE_STATE_DICT}"
        )
    if not any(name.endswith("data.pkl") for name in names):
        raise CheckpointError(f"this is a zip archive, but `torch.save` did not write it. {SAVE_STATE_DICT}")


def is_text(head: bytes) -> bool:
    """Return whether the first bytes of a file are text."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # the last character may be incomplete, since only the head is read
            return False
    return all(byte >= 32 or byte in TEXT_CONTROLS for byte in head)


def advice_for_directory(path: Path) -> str:
    """Return which file of a directory to give."""
    found = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
    return f"Give the file {found} instead." if found else "Give the checkpoint file in it instead."
