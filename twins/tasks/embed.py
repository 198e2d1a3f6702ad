"""Embedding: an image in, the features out that a classifier's last layer works on.

Preprocessing is that of classification.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from twins.card import Card, TaskName
from twins.images.decode import to_array
from twins.images.input_image import InputImage, Size
from twins.tasks.classify import resized, resized_size
from twins.tasks.options import Describe, Options
from twins.tasks.sample import Output, Params, Sample
from twins.tasks.task import Task


@dataclass(frozen=True)
class EmbedOptions(Options):
    """The options of a request."""

    normalize: Annotated[bool, Describe("Divide the embedding by its L2 norm, so that it has length 1.")] = False


@dataclass(frozen=True)
class EmbedParams(Params):
    """The parameters of a sample. Embedding has none."""

    task: ClassVar[str] = "embed"


@dataclass(frozen=True)
class Embedding:
    """The pooled features of one image."""

    vector: NDArray[np.float32]  # (channels of the last stage,)


class Embed(Task[EmbedOptions, Embedding]):
    """Embeds images: returns their pooled features, from any classifier."""

    name = "embed"
    summary = "Return the pooled features of images"
    model_task: TaskName = "classify"
    options = EmbedOptions
    params = EmbedParams
    margin = 8  # by `python -m bench.models.large_images`
    max_batch: ClassVar[Mapping[str, int]] = {"cuda": 32, "cpu": 8}

    def check(self, options: EmbedOptions, card: Card) -> None:
        """Accept all options, which do not depend on the model."""

    def input_size(self, size: Size, card: Card) -> Size:
        """Return the size of classification."""
        return resized_size(size, card.geometry)

    def preprocess(self, image: InputImage, card: Card, options: EmbedOptions) -> Sample:  # noqa: ARG002
        """Return the image resized and cropped as for classification."""
        return Sample(to_array(resized(image, card.geometry)), EmbedParams())

    def postprocess(self, output: Output, card: Card, options: EmbedOptions) -> Embedding:  # noqa: ARG002
        """Normalise the features if the options say so. `output` has them as float32 (channels,)."""
        vector = np.asarray(output.arrays[0], np.float32)
        return Embedding(normalised(vector) if options.normalize else vector)


EMBED = Embed()


def normalised(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vector divided by its L2 norm; a vector of zeros has no direction and stays as it is."""
    wide = vector.astype(np.float64)  # float32 has no room for the squares of very small and very large values
    norm = np.linalg.norm(wide)
    return (wide / norm).astype(np.float32) if norm else vector
