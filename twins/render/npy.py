"""NumPy files."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode(array: NDArray[Any]) -> bytes:
    """Return an array as an `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
