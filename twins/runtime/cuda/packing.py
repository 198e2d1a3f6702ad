"""Packs the outputs of a batch into one tensor, so that one copy downloads them all.

Legend: B batch
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twins.errors import NonFiniteOutput
from twins.runtime.outputs import outputs
from twins.tasks.sample import Output


@dataclass(frozen=True)
class Field:
    """Where an array is in the packed bytes."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    offset: int

    def read(self, data: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Return a copy of the array."""
        return np.ndarray(self.shape, self.dtype, data, self.offset).copy()


@dataclass(frozen=True)
class Packed:
    """The outputs of a batch as bytes, and where in them each array is."""

    data: Tensor  # uint8, on the device
    samples: Sequence[tuple[Field, ...]]
    finite: Field

    def unpack(self, data: NDArray[np.uint8]) -> list[Output | NonFiniteOutput]:
        """Return an output or an error for each sample from the downloaded bytes."""
        arrays = [tuple(field.read(data) for field in fields) for fields in self.samples]
        return outputs(arrays, self.finite.read(data))


def pack(reduced: Sequence[tuple[Tensor, ...]], finite: Tensor) -> Packed:
    """Return the reduced outputs of each sample as bytes, and which of them are finite. finite: B, bool."""
    offset = 0
    parts: list[Tensor] = []

    def add(tensor: Tensor) -> Field:
        nonlocal offset
        part = tensor.contiguous().view(torch.uint8).flatten()
        field = Field(numpy_type(tensor.dtype), tuple(tensor.shape), offset)
        parts.append(part)
        offset += len(part)
        return field

    fields = [tuple(map(add, tensors)) for tensors in reduced]
    flags = add(finite)
    return Packed(torch.cat(parts), fields, flags)


def numpy_type(dtype: torch.dtype) -> np.dtype[np.generic]:
    """Return NumPy's counterpart of a type."""
    found: np.dtype[np.generic] = torch.empty(0, dtype=dtype).numpy().dtype
    return found
