"""The formats of embeddings."""

import base64
from collections.abc import Mapping

import msgspec
import numpy as np

from twins.render import npy
from twins.render.renderer import JSON, NPY, Renderer, RenderInput

LITTLE_ENDIAN_FLOAT32 = np.dtype("<f4")


class EmbedAnswer(msgspec.Struct, frozen=True):
    """The embedding of one image; `dim` is the number of its values."""

    model: str
    dim: int
    embedding: list[float]


class EmbedBase64Answer(msgspec.Struct, frozen=True):
    """The embedding of one image as little-endian float32 values in base64; `dim` is the number of its values."""

    model: str
    dim: int
    embedding: str


def encode_json(inputs: RenderInput) -> bytes:
    """Return the values as numbers."""
    vector = inputs.result.vector
    return msgspec.json.encode(EmbedAnswer(inputs.card.key, vector.size, vector.tolist()))


def encode_npy(inputs: RenderInput) -> bytes:
    """Return the values as a NumPy file of one dimension."""
    return npy.encode(inputs.result.vector.astype(LITTLE_ENDIAN_FLOAT32))


def encode_base64(inputs: RenderInput) -> bytes:
    """Return the bytes of the values in base64, which is shorter and faster to read than numbers."""
    vector = inputs.result.vector
    text = base64.b64encode(vector.astype(LITTLE_ENDIAN_FLOAT32).tobytes()).decode("ascii")
    return msgspec.json.encode(EmbedBase64Answer(inputs.card.key, vector.size, text))


EMBED_RENDERERS: Mapping[str, Renderer] = {
    "json": Renderer({JSON: encode_json}, document=EmbedAnswer),
    "npy": Renderer({NPY: encode_npy}),
    "base64": Renderer({JSON: encode_base64}, document=EmbedBase64Answer),
}
"""By the format's name."""
