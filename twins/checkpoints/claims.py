"""What a PyTorch file claims to hold, which is compared with its size before any tensor takes memory.

A file names the bytes of each storage, and the shape, strides and offset of each tensor in one. PyTorch allocates what
a file names, enlarges a storage in which a tensor does not fit, and decompresses entries of its archive. Here the file
is unpickled once with objects that only record what is named.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from twins.checkpoints.file_kind import DOWNLOAD_AGAIN, NO_VALUES
from twins.checkpoints.inert import Inert, TolerantUnpickler
from twins.errors import CheckpointError

ITEM_BYTES = {
    **dict.fromkeys(("ComplexDouble",), 16),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
}
"""Bytes of an element by the name of a storage's class. Those of all other classes have at least one."""

ARCHIVE = b"PK\x03\x04"
LEGACY_HEADER = 3  # pickles before the content in a file of the old format: a magic number, a version, the system


class Storage:
    """A storage that a file names."""

    def __init__(self, item_bytes: int, elements: int) -> None:
        self.item_bytes, self.elements = item_bytes, elements

    @property
    def size_bytes(self) -> int:
        """Return the bytes that it is said to have."""
        return self.item_bytes * self.elements


class Claims:
    """What a file names, and the bytes that it has for it: of each storage by its key, or of all together."""

    def __init__(self, available: Mapping[str, int] | int) -> None:
        self.available = available
        self.storages: dict[str, Storage] = {}
        self.rebuild: Mapping[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor"): self.add_tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self.add_tensor,
            ("torch._utils", "_rebuild_tensor_v3"): self.add_tensor,
            ("torch._utils", "_rebuild_qtensor"): refuse_quantised,
            ("torch._tensor", "_rebuild_from_type_v2"): rebuild_from_type,
            ("builtins", "bytearray"): make_bytes,
            ("__builtin__", "bytearray"): make_bytes,
        }

    def add_storage(self, identifier: object) -> object:
        """Record a storage by its identifier in the pickle, and return it. Raise CheckpointError if it is too large."""
        match identifier:
            case ("module", kind, *_):  # with its source code, in the old format
                return kind
            case ("storage", kind, str(key), _, int(elements), *_) if elements >= 0:
                storage = Storage(ITEM_BYTES.get(getattr(kind, "stands_for", "").removesuffix("Storage"), 1), elements)
            case _:
                raise CheckpointError(f"names a storage in an unknown way. {DOWNLOAD_AGAIN}")
        first = self.storages.setdefault(key, storage)
        if storage.size_bytes > first.size_bytes:
            self.storages[key] = storage
        self.check_storage(key)
        return storage

    def check_storage(self, key: str) -> None:
        """Raise CheckpointError if the file has fewer bytes than it says."""
        if isinstance(self.available, int):
            claimed, available = sum(each.size_bytes for each in self.storages.values()), self.available
        else:
            claimed, available = self.storages[key].size_bytes, self.available.get(key, 0)
        if claimed > available:
            raise CheckpointError(f"claims {claimed} bytes of tensors where it has {available}. {DOWNLOAD_AGAIN}")

    def add_tensor(self, storage: object, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Inert:
        """Check that a tensor lies within its storage. Raise CheckpointError."""
        if not isinstance(storage, Storage):
            raise CheckpointError(f"has a tensor without a storage. {DOWNLOAD_AGAIN}")
        numbers = [offset, *size, *stride]
        if len(size) != len(stride) or not all(isinstance(each, int) and each >= 0 for each in numbers):
            raise CheckpointError(f"has a tensor whose shape is not one. {DOWNLOAD_AGAIN}")
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if 0 not in size and last >= storage.elements:
            shape = "x".join(map(str, size))
            raise CheckpointError(f"has a tensor of {shape} that exceeds its storage of {storage.elements} elements")
        return Inert()


def refuse_quantised(*_: object) -> None:
    """Raise CheckpointError for a quantised tensor, for whose shape PyTorch allocates memory at once."""
    raise CheckpointError(f"a tensor {NO_VALUES}")


def rebuild_from_type(rebuild: Callable[..., Any], _: object, arguments: Sequence[Any], *__: object) -> object:
    """Return the tensor of a subclass as any other one."""
    return rebuild(*arguments)


def make_bytes(*arguments: object) -> Inert:
    """Return an array of bytes as an inert object. Raise CheckpointError if only its length is given."""
    if any(isinstance(each, int) for each in arguments):
        raise CheckpointError(f"has an array of bytes without its content. {DOWNLOAD_AGAIN}")
    return Inert()


class ClaimReader(TolerantUnpickler):
    """Unpickles a file without building any of its tensors."""

    def __init__(self, file: BinaryIO, claims: Claims) -> None:
        super().__init__(file, encoding="utf-8")
        self.claims = claims

    def find_class(self, module: str, name: str) -> Any:
        """Return what records an object of the class, or a stand-in."""
        if recorder := self.claims.rebuild.get((module, name)):
            return recorder
        if module.startswith("torch"):
            if name.startswith("_rebuild_parameter"):
                return lambda data, *_: data
            return type("Inert", (Inert,), {"stands_for": name})
        return super().find_class(module, name)

    def persistent_load(self, pid: object) -> object:
        """Return a storage."""
        return self.claims.add_storage(pid)


def check(path: Path) -> None:
    """Raise CheckpointError if a PyTorch file would take more memory than its own size.

    Any error of pickle is raised as well: a file that cannot be read here must not be read by PyTorch.
    """
    with path.open("rb") as file:
        if file.read(len(ARCHIVE)) == ARCHIVE:  # the look by which PyTorch chooses how to read a file
            check_archive(path)
            return
        file.seek(0)
        for _ in range(LEGACY_HEADER):
            TolerantUnpickler(file, encoding="utf-8").load()
        ClaimReader(file, Claims(path.stat().st_size)).load()


def check_archive(path: Path) -> None:
    """Raise CheckpointError for an archive with entries that are compressed or overlap, or whose tensors are larger."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise CheckpointError("has compressed entries, which `torch.save` does not write. Save it again with that.")
        names = {entry.filename for entry in entries}
        if len(names) < len(entries) or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise CheckpointError(f"has entries that overlap, which `torch.save` does not write. {DOWNLOAD_AGAIN}")
        folder = entries[0].filename.partition("/")[0]  # as PyTorch finds it
        data = f"{folder}/data/"
        sizes = {each.filename.removeprefix(data): each.file_size for each in entries if each.filename.startswith(data)}
        with archive.open(f"{folder}/data.pkl") as file:
            ClaimReader(file, Claims(sizes)).load()  # type: ignore[arg-type]  # it can be read, which is all pickle needs
