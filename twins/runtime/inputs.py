"""An image as the input of a network, for programs that call the network themselves. No torch."""

from functools import lru_cache
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twins.card import Card, Normalisation, TaskName
from twins.checkpoints.facts import TIMM_CONFIG
from twins.errors import CheckpointError
from twins.images.decode import DecodedImage, ImageError, Limits, decode, read_orientation, to_rgb
from twins.images.input_image import InputImage
from twins.preprocessing import Chosen, choose
from twins.tasks import TASKS
from twins.tasks.sample import Pixels
from twins.zoo import hub
from twins.zoo.models import ZOO, ModelReference, find_entry

LIMITS = Limits(max_bytes=2**31)  # the user's own files are not bounded as uploads are
CACHED_FILES = 16


def prepare(image: str | PathLike[str] | bytes | DecodedImage, reference: ModelReference) -> NDArray[np.float32]:
    """Return an image as the service would give it to the model: 1×3×H×W, normalised. Raises TwinsError."""
    card = card_for(reference)
    task = TASKS[card.task]
    sample = task.preprocess(open_image(image, exif_orientation=card.exif_orientation), card, task.options())
    return normalise(sample.pixels, card.normalisation)


def open_image(image: str | PathLike[str] | bytes | DecodedImage, *, exif_orientation: bool) -> InputImage:
    """Return an image from a path, bytes or Pillow as RGB. Raises ImageError."""
    if isinstance(image, Image.Image):
        orientation = read_orientation(image) if exif_orientation else None
        rgb = to_rgb(image)
        return InputImage.whole(rgb if orientation is None else rgb.transpose(orientation))
    if isinstance(image, bytes):
        return decode(image, LIMITS, exif_orientation=exif_orientation)
    try:
        data = Path(image).read_bytes()
    except OSError as error:
        raise ImageError(f"{image}: {error.strerror}") from error
    return decode(data, LIMITS, exif_orientation=exif_orientation)


def normalise(pixels: Pixels, scale: Normalisation) -> NDArray[np.float32]:
    """Return pixels (H, W, 3) as a normalised batch of one image (1, 3, H, W)."""
    mean, std = (np.float32(255) * np.array(values, np.float32) for values in (scale.mean, scale.std))
    return np.ascontiguousarray(((pixels.astype(np.float32) - mean) / std).transpose(2, 0, 1)[None])


def card_for(reference: ModelReference) -> Card:
    """Return a card that is enough to preprocess images; it has no labels. Raises TwinsError.

    The weights of a published model are not fetched. A checkpoint of your own is read once per version of
    the file and of timm's configuration beside it.
    """
    reference = hub.located(reference)
    if reference.checkpoint is None:
        entry = find_entry(reference.name)
        task, chosen = entry.task, choose(entry.task, {"flag": reference.preprocessing, "zoo": entry.preprocessing})
    else:
        task, chosen = read_file(reference, version_of(reference.checkpoint))
    known = ZOO.get(reference.name)
    return Card(
        name=reference.name,
        task=task,
        variant="",
        labels=(),
        geometry=chosen.geometry,
        normalisation=chosen.normalisation,
        exif_orientation=known.exif_orientation if known else True,
        source="",
        licence="",
        sources=chosen.sources,
    )


def version_of(checkpoint: Path) -> tuple[int, int]:
    """Return when a checkpoint and timm's configuration beside it were written. Raises CheckpointError."""
    config = checkpoint.parent / TIMM_CONFIG
    try:
        return checkpoint.stat().st_mtime_ns, config.stat().st_mtime_ns if config.is_file() else 0
    except OSError as error:
        raise CheckpointError(f"{checkpoint}: {error.strerror}") from error


@lru_cache(CACHED_FILES)
def read_file(reference: ModelReference, version: tuple[int, int]) -> tuple[TaskName, Chosen]:  # noqa: ARG001 - part of the key
    """Return the task and the preprocessing of a checkpoint of the user's own. Raises TwinsError."""
    from twins.zoo import loading  # imported late because it imports torch

    found, _ = loading.read(reference)
    return found.task, loading.choose_preprocessing(reference, found)
