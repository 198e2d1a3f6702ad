"""The protocol of a task: all that the service needs to know about it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from twins.card import Card, TaskName
from twins.images.input_image import InputImage, Size
from twins.tasks.options import Options
from twins.tasks.sample import Output, Params, Sample

OptionsT = TypeVar("OptionsT", bound=Options)
ResultT_co = TypeVar("ResultT_co", covariant=True)


class Task(Protocol[OptionsT, ResultT_co]):
    """One task. It has no state; `twins.tasks.TASKS` has one object of each.

    The renderers of its results are in `twins.render.RENDERERS`, and its reduction on the device is in
    `twins.runtime.reduce.REDUCTIONS`, both by the task's name.
    """

    name: str
    summary: str  # what it returns, for the API's documentation
    model_task: TaskName  # the task of the models that can run it
    options: type[OptionsT]
    params: type[Params]
    margin: ClassVar[int]  # a reduced image is at least so many times as wide and as high as `input_size`
    max_batch: ClassVar[Mapping[str, int]]  # the default largest batch, by kind of device

    def check(self, options: OptionsT, card: Card) -> None:
        """Raise BadOption if the options do not fit the model."""

    def input_size(self, size: Size, card: Card) -> Size:
        """Return the (width, height) to which `preprocess` resizes an image. Turning the image turns it, too."""
        ...

    def smallest_size(self, size: Size, card: Card) -> Size:
        """Return the (width, height) below which the decoder must not reduce an image of this size."""
        width, height = self.input_size(size, card)
        return self.margin * width, self.margin * height

    def preprocess(self, image: InputImage, card: Card, options: OptionsT) -> Sample:
        """Return the sample that the model runs. Raise BadOption as `check` does."""
        ...

    def postprocess(self, output: Output, card: Card, options: OptionsT) -> ResultT_co:
        """Return the result that a reduced output means."""
        ...

    def finish_pixels(self, output: Output) -> int:
        """Return how many pixels, or other values, the result of an output has, for which memory is reserved."""
        return max(array.size for array in output.arrays)

    def serves(self, card: Card) -> bool:
        """Return whether a model can run this task."""
        return card.task == self.model_task

    def accept(self, values: NDArray[np.float32], card: Card, options: OptionsT) -> Sample:  # noqa: ARG002
        """Return the sample of the network's own input, float32 (3, height, width), which is normalised already."""
        return Sample(values, self.params())

    def blank(self, card: Card) -> Sample:
        """Return a black sample of the model's usual size, to warm up a backend."""
        return Sample(np.zeros((*card.geometry.usual_size, 3), np.uint8), self.params())


AnyTask = Task[Any, Any]
