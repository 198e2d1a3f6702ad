"""Renderers: how a task's result becomes a file or a document."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twins.card import Card
from twins.errors import BadOption
from twins.images.decode import DecodedImage

JSON, PNG, JPEG, NPY = "application/json", "image/png", "image/jpeg", "application/x-npy"


@dataclass(frozen=True)
class RenderInput:
    """The input of an encoder. The types of `result` and `options` are those of the task."""

    result: Any
    card: Card
    options: Any
    image: DecodedImage | None = None  # present if the renderer needs it


@dataclass(frozen=True)
class RenderOutput:
    """A result in one format."""

    content: Any  # bytes, or a protobuf message
    media_type: str

    @property
    def size_bytes(self) -> int:
        """Return the size of the content in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else int(self.content.ByteSize())


Encoder = Callable[[RenderInput], Any]


@dataclass(frozen=True)
class Renderer:
    """One format of a task's results."""

    encoders: Mapping[str, Encoder]  # by media type; the first is the default
    document: Any = None  # the type of the document, if the format is JSON
    needs_image: bool = False  # whether the decoded image must be kept until the result is there
    max_classes: int | None = None  # the largest number of classes that the format has room for

    @property
    def media_types(self) -> tuple[str, ...]:
        """Return the media types of the format, the default first."""
        return tuple(self.encoders)

    def check(self, card: Card) -> None:
        """Raise BadOption if the format has no room for the model's classes."""
        if self.max_classes is not None and len(card.labels) > self.max_classes:
            raise BadOption(f"the format has room for {self.max_classes} classes; {card.name} has {len(card.labels)}")

    def render(self, inputs: RenderInput, media_type: str = "") -> RenderOutput:
        """Return the result in this format, as the default media type unless another is given.

        This is a pure function, to be run in a thread: it may encode megabytes.
        """
        media_type = media_type or self.media_types[0]
        return RenderOutput(self.encoders[media_type](inputs), media_type)
