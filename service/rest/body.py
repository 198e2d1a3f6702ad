"""A request's body as images and options: multipart, JSON, or the bare image. Everything stays in memory."""

import asyncio
import base64
import binascii
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from service.errors import BadRequest, Cancelled, RequestTimeout, ServiceError, TooLarge, UnsupportedMedia
from service.rest.multipart import IMAGE_PARTS, MAX_FIELDS, Part, read_parts
from service.rest.scope import MALFORMED, fields
from service.settings import Settings

ReserveBytes = Callable[[int], None]
Image = bytes | ServiceError  # an image that cannot be read from the body is its own error

MAX_CONTENT_TYPE = 1024  # characters
URL_SAFE = bytes.maketrans(b"-_", b"+/")

USE_A_FORM = "send `-F image=@FILE`, or `--data-binary @FILE` with `-H 'Content-Type: image/jpeg'`"
NOT_FETCHED = "URLs are not fetched; send the image's bytes"


@dataclass(frozen=True)
class BodyContent:
    """The content of a body."""

    images: tuple[Image, ...]
    several: bool  # whether the answer is a list
    options: dict[str, str] = field(default_factory=dict)


class ImageBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON form: one image or several in base64. Each endpoint adds its options, as in the query."""

    image: str | None = None
    images: list[str] | None = None


async def unwrap(
    request: Request,
    settings: Settings,
    form: type[ImageBody],
    *,
    deadline: float,
    reserve_bytes: ReserveBytes = lambda _: None,
) -> BodyContent:
    """Return the images and options of a request, which must arrive before `deadline` on the event loop's clock.

    `reserve_bytes` is called with the size of every piece. Raises ServiceError.
    """
    headers = fields(request)
    check_encoding(headers)
    check_length(headers, settings.max_body_bytes)
    media_type, parameters = content_type(headers)
    body = await read(request, settings.max_body_bytes, deadline, reserve_bytes)
    if media_type == b"multipart/form-data":
        return from_parts(await read_parts(body, headers["content-type"], parameters, settings.max_images))
    if media_type == b"application/json":
        if body.count(b",") > MAX_FIELDS + 2 * settings.max_images:  # counted before decoding makes a million strings
            raise TooLarge(f"the request has more than {settings.max_images} images, or too many options")
        reserve_bytes(len(body))  # for the strings and the images in them
        return await asyncio.to_thread(unwrap_json, body, form)  # decoding megabytes would block the event loop
    check_form_label(media_type, body)
    # The first bytes of an image are more reliable than its content type.
    return BodyContent((body,) if body else (), several=False)


def content_type(headers: Mapping[str, str]) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the media type in lower case, and its parameters. Raises BadRequest if the header is too long."""
    text = headers.get("content-type", "")
    if len(text) > MAX_CONTENT_TYPE:
        raise BadRequest(f"the Content-Type header has more than {MAX_CONTENT_TYPE} characters")
    return parse_options_header(text)


def check_encoding(headers: Mapping[str, str]) -> None:
    """Raise UnsupportedMedia for a compressed body: limits on bytes would not hold for what it expands to."""
    encoding = headers.get("content-encoding", "").strip()
    if encoding.lower() not in ("", "identity"):
        raise UnsupportedMedia(f"the Content-Encoding {encoding[:40]!r} is not supported; send the body uncompressed")


def check_length(headers: Mapping[str, str], max_bytes: int) -> None:
    """Raise TooLarge if Content-Length exceeds the limit, before the body is read."""
    announced = headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large(max_bytes)


def check_form_label(media_type: bytes, body: bytes) -> None:
    """Raise UnsupportedMedia for a body with the content type of a URL-encoded form that is not an image.

    curl sends every body with this content type. `--data-binary` does not change an image, and every image format has
    zero bytes in its header. `-d @FILE` removes zero bytes, and a real form has none.
    """
    if media_type == b"application/x-www-form-urlencoded" and body and b"\0" not in body:
        raise UnsupportedMedia(f"the body is not an image; `curl -d @FILE` alters the file's bytes: {USE_A_FORM}")


async def read(request: Request, max_bytes: int, deadline: float, reserve_bytes: ReserveBytes) -> bytes:
    """Return the whole body. Raises TooLarge, RequestTimeout, BadRequest, Cancelled."""
    chunks, left = list[bytes](), max_bytes
    try:
        async with asyncio.timeout_at(deadline):
            async for chunk in request.stream():
                left -= len(chunk)
                if left < 0:
                    raise too_large(max_bytes)
                reserve_bytes(len(chunk))
                chunks.append(chunk)
    except TimeoutError as error:
        raise RequestTimeout("the deadline passed before the whole body had arrived") from error
    except ClientDisconnect as error:
        if malformed := getattr(request.state, MALFORMED, None):
            raise BadRequest(malformed) from error
        raise Cancelled("the client disconnected before its request was complete") from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(max_bytes: int) -> TooLarge:
    """Return the error for a body that is too large."""
    return TooLarge(f"the request has more than {max_bytes} bytes")


def from_parts(parts: list[Part]) -> BodyContent:
    """Return the content of a form: files are images, text is options. Raises BadRequest for a file elsewhere."""
    images: list[Image] = []
    options: list[tuple[str, str]] = []
    for part in parts:
        if isinstance(part.content, str):
            options.append((part.name, part.content))
        elif part.name in IMAGE_PARTS:
            images.append(text_error(part.name, part.content, part.filename) or part.content)
        else:
            raise BadRequest(f"the part {part.name[:40]!r} is a file; images go into parts named 'image'")
    return BodyContent(tuple(images), several=len(images) > 1, options=joined(options))


def text_error(name: str, content: bytes, filename: str) -> BadRequest | None:
    """Return the error for an image part that is a path or a URL, as when `@` is missing in `-F image=@FILE`."""
    if filename or not TEXT.fullmatch(content):
        return None
    if URL.match(content.decode("ascii")):
        return BadRequest(f"{name}: {NOT_FETCHED}")
    return BadRequest(f"{name}: the part is text, not an image; with curl, write -F {name}=@FILE")


TEXT = re.compile(rb"[ -~]{1,1024}")
URL = re.compile(r"(?!data:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def joined(options: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return each option's text; an option that is given several times becomes a list separated by commas."""
    found: dict[str, str] = {}
    for name, text in options:
        found[name] = f"{found[name]},{text}" if name in found else text
    return found


def unwrap_json(body: bytes, form: type[ImageBody]) -> BodyContent:
    """Return the content of a JSON body. Raises BadRequest."""
    given = read_fields(body, form)
    if (given.image is None) == (given.images is None):
        raise BadRequest('the JSON body needs either "image" or "images"')
    texts: dict[str, object] = {"image": given.image or ""} if given.images is None else enumerated(given.images)
    options = {name: getattr(given, name) for name in given.__struct_fields__ if name not in IMAGE_PARTS}
    return BodyContent(
        tuple(from_base64(name, text) for name, text in texts.items()),
        several=given.images is not None,
        options={name: as_text(value) for name, value in options.items() if value is not None},
    )


def read_fields(body: bytes, form: type[ImageBody]) -> ImageBody:
    """Return the fields of a JSON body. Raises BadRequest."""
    kinds = field_kinds(form)
    try:
        given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        raise BadRequest('the JSON body must be an object, such as {"image": "…"}') from error
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "it ends too early")
        raise BadRequest(f"the body is not valid JSON: {reason}") from error
    except UnicodeDecodeError as error:
        raise BadRequest("the JSON body is not UTF-8") from error
    except RecursionError as error:
        raise BadRequest("the JSON body is nested too deeply") from error
    check_names(given, kinds)
    return form(**{name: read_field(name, value, kinds[name]) for name, value in given.items()})


@cache
def field_kinds(form: type[ImageBody]) -> dict[str, Any]:
    """Return the type of each field of a JSON body."""
    return {**get_type_hints(form), "images": list[Any] | None}  # an image that is no string fails alone


def read_field(name: str, value: msgspec.Raw, kind: Any) -> Any:
    """Return the value of a field of a JSON body. Raises BadRequest."""
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        (given,) = (each for each in get_args(kind) if each is not NoneType)
        raise BadRequest(f"{name} must be {JSON_KINDS[given]}") from error


JSON_KINDS: dict[Any, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list[Any]: "a list of strings",
    list[str]: "a list of strings",
    list[str | int]: "a list of strings and whole numbers",
}
"""What a field of a JSON body must be, by its type."""


def enumerated(texts: Iterable[object]) -> dict[str, object]:
    """Return the images of a list by the names that error messages give them."""
    return {f"images[{index}]": text for index, text in enumerate(texts)}


def as_text(value: object) -> str:
    """Return an option's JSON value as text, as in the query."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def from_base64(name: str, text: object) -> Image:
    """Return an image from its base64 form, or the error in its place.

    Takes line breaks and other white space, the URL-safe alphabet, missing padding, and the prefix of a data URL.
    """
    if not isinstance(text, str):
        return BadRequest(f"{name} must be a string")
    if URL.match(text):
        return BadRequest(f"{name}: {NOT_FETCHED}")
    _, comma, rest = text.partition(",")
    try:
        digits = (rest if comma else text).encode("ascii").translate(URL_SAFE, delete=b" \t\r\n")
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        return BadRequest(f"{name}: not base64; encode the bytes of the image file, as `base64 FILE` does")


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise BadRequest for an option that does not exist, with the closest one that does."""
    for name in given:
        if name not in (known := tuple(known)):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the options are {', '.join(known)}"
            raise BadRequest(f"no option is called {name[:40]!r}; {hint}")
