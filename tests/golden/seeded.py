"""Weights and inputs that can be generated again: every tensor is a function of its name.

A golden case has a checkpoint format, the (key, shape) list of this format, and an input. A reference implementation that
loaded these weights computed the expected outputs once.
"""

import zlib

import numpy as np


def tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the value of the parameter or buffer called `key`, float32 (int64 zero for a counter)."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    rng = np.random.RandomState(zlib.crc32(key.encode()))  # legacy stream: frozen across numpy versions
    noise = rng.standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        return 1.0 + 0.5 * np.abs(noise)
    if key.endswith(("running_mean", "bias")) or key.endswith("in_proj_bias"):
        return 0.1 * noise
    if len(shape) == 1:  # the scale of a norm
        return 1.0 + 0.1 * noise
    fan_in = int(np.prod(shape[1:]))
    return noise * np.float32(1.5 / np.sqrt(fan_in))


def image(name: str, height: int, width: int) -> np.ndarray:
    """Return a smooth random image, uint8, (height, width, 3), RGB."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    coarse = rng.randint(0, 256, (height // 16 + 2, width // 16 + 2, 3)).astype(np.float32)
    rows = np.linspace(0, coarse.shape[0] - 1.001, height)
    cols = np.linspace(0, coarse.shape[1] - 1.001, width)
    r0, c0 = rows.astype(int), cols.astype(int)
    fr, fc = (rows - r0)[:, None, None], (cols - c0)[None, :, None]
    top = coarse[r0][:, c0] * (1 - fc) + coarse[r0][:, c0 + 1] * fc
    bottom = coarse[r0 + 1][:, c0] * (1 - fc) + coarse[r0 + 1][:, c0 + 1] * fc
    return (top * (1 - fr) + bottom * fr).round().astype(np.uint8)


def batch(name: str, count: int, height: int, width: int) -> np.ndarray:
    """Return a model input: float32, (count, 3, height, width), with about zero mean and unit deviation."""
    images = [image(f"{name}/{i}", height, width) for i in range(count)]
    return ((np.stack(images).transpose(0, 3, 1, 2) / 255.0 - 0.5) / 0.25).astype(np.float32)
