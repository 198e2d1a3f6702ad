"""What the endpoints that run a model have of their own, as data: their options, and the call that they make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast, get_args

import msgspec
from msgspec import Meta

from service.core.call import Call
from service.errors import BadRequest, NotAcceptable
from service.rest.accept import choose
from service.rest.body import ImageBody, Unwrapped, check_names
from twins.card import TOP_K_LIMIT, TaskName
from twins.render.document import Masks
from twins.render.formats import JPEG, JSON, MEDIA_TYPES, NPY, PNG, Form, RenderOptions
from twins.tasks.classify import ClassifyOptions
from twins.tasks.segment import SegmentOptions

FORMATS: tuple[Form, ...] = ("json", "png", "palette", "overlay", "hf", "npy")

OFFERS: Mapping[str, Form] = {JSON: "json", PNG: "png", JPEG: "overlay", NPY: "npy"}
"""The form of a mask for each media type, where no format is asked for; the first where all are taken alike."""


@dataclass(frozen=True)
class Option:
    """One option: how its text is read, its type in JSON with what the API's description says of it."""

    read: Callable[[str, str], Any]  # from its name and text; raises BadRequest
    kind: Any


@dataclass(frozen=True)
class Endpoint:
    """One task's endpoint."""

    task: TaskName
    options: Mapping[str, Option]
    body: type[ImageBody]  # of a request in JSON
    make: Callable[[Unwrapped, dict[str, Any], str], Call]  # from images, options read, and what the client accepts

    def call(self, given: Unwrapped, query: dict[str, str], accept: str) -> Call:
        """What a client asks for; an option in the body beats one in the query. Raises BadRequest, BadOption."""
        check_names(given.options, self.options)
        texts = {**query, **given.options}
        return self.make(given, {name: self.options[name].read(name, text) for name, text in texts.items()}, accept)


def word(_: str, text: str) -> str:
    """An option's text as it stands."""
    return text


def words(_: str, text: str) -> tuple[str, ...]:
    """An option's list, separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def whole(name: str, text: str) -> int:
    """An option's whole number. Raises BadRequest."""
    if not (text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 10):
        raise BadRequest(f"{name} is {text[:40]!r}; it must be a whole number")
    return int(text)


def number(name: str, text: str) -> float:
    """An option's number. Raises BadRequest."""
    try:
        return float(text)
    except ValueError as error:
        raise BadRequest(f"{name} is {text[:40]!r}; it must be a number") from error


def truth(name: str, text: str) -> bool:
    """An option's yes or no. Raises BadRequest."""
    if text.lower() not in ("true", "false"):
        raise BadRequest(f"{name} is {text[:40]!r}; it must be true or false")
    return text.lower() == "true"


def option(read: Callable[[str, str], Any], kind: Any, description: str, **schema: Any) -> Option:
    """An option of a JSON type; `schema` is for the API's description alone: values are checked where tasks are."""
    return Option(read, Annotated[kind, Meta(description=description, extra_json_schema=schema)])


MODEL = option(word, str, "a name of /models")

CLASSIFY_OPTIONS = {
    "model": MODEL,
    "top_k": option(
        whole,
        int,
        "number of classes; a model of fewer answers them all",
        minimum=1,
        maximum=TOP_K_LIMIT,
        default=5,
    ),
}

SEGMENT_OPTIONS = {
    "model": MODEL,
    "size": option(
        word,
        str,
        "of the mask: the image's, or the network's input's",
        enum=["original", "model"],
        default="original",
    ),
    "classes": option(words, list[str | int], "the only classes to keep, by name or id; by default all"),
    "threshold": option(
        number, float, "pixels that are less sure of their class have none", minimum=0, maximum=1, default=0
    ),
    "confidence": option(truth, bool, "whether to tell how sure the pixels of each class are", default=False),
    "format": option(word, str, "the form of the answer, whatever Accept says", enum=list(FORMATS)),
    "masks": option(word, str, "the form of the masks in a JSON answer", enum=list(get_args(Masks)), default="rle"),
    "opacity": option(number, float, "of the mask in an overlay", minimum=0, maximum=1, default=RenderOptions.opacity),
}


def body(name: str, options: Mapping[str, Option]) -> type[ImageBody]:
    """The JSON form of a request with these options."""
    fields = [(each, option.kind | None, None) for each, option in options.items()]
    namespace = {"__doc__": ImageBody.__doc__}
    made = msgspec.defstruct(name, fields, bases=(ImageBody,), namespace=namespace, forbid_unknown_fields=True)
    return cast("type[ImageBody]", made)


def classify_call(given: Unwrapped, options: dict[str, Any], _: str) -> Call:
    """The best classes."""
    model = options.pop("model", None)
    return Call("classify", given.images, ClassifyOptions(**options), model)


def segment_call(given: Unwrapped, options: dict[str, Any], accept: str) -> Call:
    """A mask, in the form that the client takes. Raises BadOption, BadRequest, NotAcceptable."""
    model = options.pop("model", None)
    form, media_type = choose_form(options.pop("format", None), accept, several=given.several)
    appearance = {name: options.pop(name) for name in ("masks", "opacity") if name in options}
    return Call(
        "segment",
        given.images,
        SegmentOptions(**options),
        model,
        RenderOptions(form, media_type=media_type, **appearance),
    )


def choose_form(wanted: str | None, accept: str, *, several: bool) -> tuple[Form, str]:
    """The form of an answer and its media type: the one wanted, or the one accepted. Raises BadRequest, NotAcceptable.

    Several images are answered by a list, which JSON alone has.
    """
    if wanted is not None:
        if (form := next((each for each in FORMATS if each == wanted), None)) is None:
            raise BadRequest(f"format is {wanted[:40]!r}; it must be one of {', '.join(FORMATS)}")
        media_type = choose(accept, MEDIA_TYPES[form]) or MEDIA_TYPES[form][0]
        if several and media_type != JSON:
            raise NotAcceptable(f"several images are answered by a list, which {wanted} has not; send one at a time")
        return form, media_type
    offers = [JSON] if several else list(OFFERS)
    if (liked := choose(accept, offers)) is None:
        detail = "several images are answered in" if several else "masks are on offer as"
        raise NotAcceptable(f"{detail} {', '.join(offers)}; none of that is in {accept[:200]!r}")
    return OFFERS[liked], liked


CLASSIFY_ENDPOINT = Endpoint("classify", CLASSIFY_OPTIONS, body("ClassifyBody", CLASSIFY_OPTIONS), classify_call)
SEGMENT_ENDPOINT = Endpoint("segment", SEGMENT_OPTIONS, body("SegmentBody", SEGMENT_OPTIONS), segment_call)
