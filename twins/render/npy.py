"""Masks as NumPy files."""

import io

import numpy as np

from twins.tasks.segmentation import Segmentation


def encode(found: Segmentation) -> bytes:
    """The mask as an `.npy` file: (height, width), uint8 or uint16."""
    buffer = io.BytesIO()
    np.save(buffer, found.mask, allow_pickle=False)
    return buffer.getvalue()
