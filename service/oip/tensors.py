"""Tensors of the Open Inference Protocol: their data types, and their values in binary form and as lists.

Binary values are little-endian, row by row. An element of BYTES is its length in four bytes and the bytes themselves.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import BadRequest

BYTES = "BYTES"
LENGTH_BYTES = 4  # of the length before an element of BYTES
MAX_DIMENSIONS = 8
SHOWN = 100  # characters of a wrong shape in an error message
MAX_LENGTH = 2**63 - 1  # of a dimension, as in gRPC

DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    BYTES: np.dtype(object),
}
"""The NumPy type of each data type. An array of BYTES has objects of the type `bytes`."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named tensor. The type of `values` is that of its data type."""

    name: str
    datatype: str
    values: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the lengths of the dimensions."""
        return self.values.shape


@dataclass(frozen=True)
class Header:
    """What a request says about a tensor before its values."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise BadRequest for an unknown data type or an impossible shape."""
        if self.datatype not in DATATYPES:
            raise BadRequest(
                f"the tensor {self.name[:40]!r} has the data type {self.datatype[:20]!r}; "
                f"it must be one of {', '.join(DATATYPES)}"
            )
        if not 0 < len(self.shape) <= MAX_DIMENSIONS or not 0 < min(self.shape) <= max(self.shape) <= MAX_LENGTH:
            raise BadRequest(
                f"the tensor {self.name[:40]!r} has the shape {str(self.shape[:MAX_DIMENSIONS])[:SHOWN]}; "
                f"it must have 1 to {MAX_DIMENSIONS} dimensions of 1 to {MAX_LENGTH} elements"
            )

    @property
    def elements(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Return the bytes of an element in binary form; 0 for BYTES, whose elements differ."""
        return 0 if self.datatype == BYTES else DATATYPES[self.datatype].itemsize


def from_binary(header: Header, data: bytes | memoryview) -> Tensor:
    """Return a tensor from its binary form. Raise BadRequest if the size does not fit the shape."""
    if header.datatype == BYTES:
        return from_elements(header, split(header, memoryview(data)))
    expected = header.elements * header.itemsize
    if len(data) != expected:
        raise BadRequest(
            f"the tensor {header.name[:40]!r} has {len(data)} bytes; {header.datatype} of shape {list(header.shape)} "
            f"has {expected}"
        )
    values = np.frombuffer(data, DATATYPES[header.datatype]).reshape(header.shape)
    return Tensor(header.name, header.datatype, values)


def split(header: Header, data: memoryview) -> list[bytes]:
    """Return the elements of BYTES. Raise BadRequest unless they are as many as the shape says and fill the data."""
    elements, start = list[bytes](), 0
    while start < len(data) and len(elements) <= header.elements:
        length = int.from_bytes(data[start : start + LENGTH_BYTES], "little")
        end = start + LENGTH_BYTES + length
        if end > len(data):
            raise BadRequest(f"the tensor {header.name[:40]!r} ends within an element")
        elements.append(bytes(data[start + LENGTH_BYTES : end]))
        start = end
    return elements


def from_elements(header: Header, elements: Sequence[bytes]) -> Tensor:
    """Return a tensor of BYTES. Raise BadRequest unless the elements are as many as the shape says."""
    check_count(header, len(elements))
    values = np.empty(len(elements), object)
    values[:] = elements
    return Tensor(header.name, header.datatype, values.reshape(header.shape))


def from_numbers(header: Header, numbers: Sequence[Any]) -> Tensor:
    """Return a tensor of numbers from a list, flat or nested. Raise BadRequest."""
    try:
        values = np.asarray(numbers, DATATYPES[header.datatype])
    except (ValueError, TypeError, OverflowError) as error:
        raise BadRequest(
            f"the data of the tensor {header.name[:40]!r} are no list of {header.datatype} values"
        ) from error
    check_count(header, values.size)
    return Tensor(header.name, header.datatype, values.reshape(header.shape))


def check_count(header: Header, count: int) -> None:
    """Raise BadRequest unless a tensor has as many elements as its shape says."""
    if count != header.elements:
        raise BadRequest(
            f"the tensor {header.name[:40]!r} has {count} elements; the shape {list(header.shape)} has "
            f"{header.elements}"
        )


def to_binary(tensor: Tensor) -> bytes:
    """Return the binary form of a tensor."""
    if tensor.datatype != BYTES:
        return tensor.values.astype(DATATYPES[tensor.datatype], copy=False).tobytes()
    pieces = (
        piece for element in tensor.values.flat for piece in (len(element).to_bytes(LENGTH_BYTES, "little"), element)
    )
    return b"".join(pieces)


def to_list(tensor: Tensor) -> list[Any]:
    """Return the values of a tensor as a flat list for JSON. Elements of BYTES are texts in UTF-8."""
    if tensor.datatype == BYTES:
        return [element.decode("utf-8", "replace") for element in tensor.values.flat]
    return list(tensor.values.ravel().tolist())


def texts(name: str, values: NDArray[Any]) -> Tensor:
    """Return a tensor of BYTES from an array of strings."""
    found = np.empty(values.shape, object)
    for index, text in np.ndenumerate(values):
        found[index] = text.encode()
    return Tensor(name, BYTES, found)


def numbers(name: str, datatype: str, values: Any) -> Tensor:
    """Return a tensor of numbers."""
    return Tensor(name, datatype, np.asarray(values, DATATYPES[datatype]))
