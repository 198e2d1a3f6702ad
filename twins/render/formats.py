"""The forms in which masks leave the service, by name: the same for both protocols and the command line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from twins.card import MAX_UINT8_CLASSES, Card
from twins.errors import BadOption
from twins.images.decode import DecodedImage
from twins.render import huggingface, npy, overlay, palette, png, rle
from twins.render.document import Masks, describe
from twins.render.rle import Rle
from twins.tasks.segmentation import Region, Segmentation, regions

Form = Literal["json", "png", "palette", "overlay", "hf", "npy", "rle", "none"]
"""`rle` and `none` have no content of their own: what is found stands beside it."""

JSON, PNG, JPEG, NPY = "application/json", "image/png", "image/jpeg", "application/x-npy"

MEDIA_TYPES: Mapping[Form, tuple[str, ...]] = {
    "json": (JSON,),
    "png": (PNG,),
    "palette": (PNG,),
    "overlay": (PNG, JPEG),
    "hf": (JSON,),
    "npy": (NPY,),
    "rle": ("",),
    "none": ("",),
}
"""What each form can be sent as; the first is the usual one."""


@dataclass(frozen=True)
class RenderedMask:
    """A mask as it is handed out."""

    content: bytes
    media_type: str
    size: tuple[int, int]  # (height, width)
    regions: tuple[Region, ...] = ()  # if the options lists them
    runs: Mapping[int, Rle] = field(default_factory=dict)  # by class id, in the form `rle`


@dataclass(frozen=True)
class RenderOptions:
    """How a mask is to be handed out. Raises BadOption."""

    form: Form = "json"
    media_type: str = ""  # one of the form's; empty: its usual one
    masks: Masks = "rle"  # of the form `json`
    opacity: float = 0.55  # of an overlay: 0 is the photo, 1 the mask
    listed: bool = False  # whether the classes that are present stand beside the content

    def __post_init__(self) -> None:
        if self.form not in MEDIA_TYPES:
            raise BadOption(f"no form is called {self.form[:40]!r}; known are {', '.join(MEDIA_TYPES)}")
        if self.masks not in get_args(Masks):
            raise BadOption(f"masks is {self.masks[:40]!r}; it must be one of {', '.join(get_args(Masks))}")
        if not 0 <= self.opacity <= 1:
            raise BadOption(f"opacity is {self.opacity}; it must be from 0 to 1")

    @property
    def needs_image(self) -> bool:
        """Whether the decoded image must be kept until the mask is there."""
        return self.form == "overlay"

    def check(self, card: Card) -> None:
        """Raises BadOption for a form that cannot hold the model's classes."""
        if self.form == "palette" and len(card.labels) > MAX_UINT8_CLASSES:
            raise BadOption(
                f"a palette has room for {MAX_UINT8_CLASSES} classes, and {card.name} has {len(card.labels)}"
            )

    def render(self, found: Segmentation, card: Card, image: DecodedImage | None) -> RenderedMask:
        """The mask in this form. A pure function, for a thread: megabytes are encoded here."""
        inputs = RenderInput(self, found, card, image)
        return RenderedMask(
            ENCODERS[self.form](inputs),
            self.media_type or MEDIA_TYPES[self.form][0],
            found.size,
            inputs.regions if self.listed else (),
            rle.encode(found) if self.form == "rle" else {},
        )


@dataclass(frozen=True)
class RenderInput:
    """What a form is made of."""

    options: RenderOptions
    found: Segmentation
    card: Card
    image: DecodedImage | None

    @cached_property
    def colours(self) -> NDArray[np.uint8]:
        """As `twins.render.palette.colours` has them."""
        return palette.colours(self.found.labels)

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The classes that are present, largest first."""
        return regions(self.found, self.colours)


def encode_json(inputs: RenderInput) -> bytes:
    """The classes that are present, each with its mask."""
    return msgspec.json.encode(describe(inputs.found, inputs.regions, inputs.card.name, inputs.options.masks))


def encode_overlay(inputs: RenderInput) -> bytes:
    """The photo under the coloured mask."""
    assert inputs.image is not None, "who asks for an overlay keeps the image"
    encoding: overlay.Encoding = "jpeg" if inputs.options.media_type == JPEG else "png"
    return overlay.encode(inputs.found, inputs.image, inputs.colours, opacity=inputs.options.opacity, encoding=encoding)


ENCODERS: Mapping[Form, Callable[[RenderInput], bytes]] = {
    "json": encode_json,
    "png": lambda inputs: png.index(inputs.found),
    "palette": lambda inputs: png.palette(inputs.found, inputs.colours),
    "overlay": encode_overlay,
    "hf": lambda inputs: msgspec.json.encode(huggingface.encode(inputs.found, inputs.regions)),
    "npy": lambda inputs: npy.encode(inputs.found),
    "rle": lambda _: b"",
    "none": lambda _: b"",
}
