"""A request's body as images and options: multipart, JSON, or the bare image. Everything stays in memory."""

import asyncio
import base64
import binascii
import difflib
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field

import msgspec
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from service.errors import BadRequest, Cancelled, TooLarge
from service.settings import Settings

IMAGE_PART, IMAGES_PART = "image", "images"
ReserveBytes = Callable[[int], None]
Chunks = AsyncGenerator[bytes, None]

CHARSETS = (b"utf-8", b"utf8", b"us-ascii", b"ascii")
MAX_CONTENT_TYPE = 1024  # characters
MAX_FIELDS, MAX_FIELD_BYTES = 32, 4096


@dataclass(frozen=True)
class Unwrapped:
    """What a body holds."""

    images: tuple[bytes, ...]
    several: bool  # whether the answer is a list
    options: dict[str, str] = field(default_factory=dict)


class ImageBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON form: one image or several, base64; each endpoint adds its options, as in the query."""

    image: str | None = None
    images: list[str] | None = None


class InMemoryParser(MultiPartParser):
    """A multipart parser that never writes to disk, where the framework's own would from a megabyte on."""

    spool_max_size = 0  # of the temporary file: 0 keeps it in memory for good


async def unwrap(
    request: Request, settings: Settings, form: type[ImageBody], *, reserve_bytes: ReserveBytes = lambda _: None
) -> Unwrapped:
    """Return the images and options of a request. `reserve_bytes` is called for every piece. Raises ServiceError."""
    check_length(request, settings.max_body_bytes)
    chunks = bounded(request, settings.max_body_bytes, reserve_bytes)
    content_type = request.headers.get("content-type", "")
    if len(content_type) > MAX_CONTENT_TYPE:
        raise BadRequest("the content type is too long")
    media_type, parameters = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        if not parameters.get(b"boundary"):
            raise BadRequest("the multipart content type names no boundary")
        if parameters.get(b"charset", b"utf-8").lower() not in CHARSETS:
            raise BadRequest("the multipart charset is not utf-8")
        return await unwrap_multipart(request, chunks, settings.max_images)
    body = b"".join([chunk async for chunk in chunks])
    if media_type == b"application/json":
        if body.count(b",") > MAX_FIELDS + 2 * settings.max_images:  # counted before a million texts are made of it
            raise TooLarge(f"more than {settings.max_images} images, or countless options, in a request")
        return await asyncio.to_thread(unwrap_json, body, form)  # megabytes of base64 would reserve_bytes up everybody
    # whatever the label says: `curl --data-binary` calls an image a form, and the first bytes tell better
    return Unwrapped((body,) if body else (), several=False)


def check_length(request: Request, max_bytes: int) -> None:
    """Refuses a body by its announced length, before it is read."""
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large(max_bytes)


async def bounded(request: Request, max_bytes: int, reserve_bytes: ReserveBytes) -> Chunks:
    """The body's chunks, up to the limit."""
    left = max_bytes
    try:
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                raise too_large(max_bytes)
            reserve_bytes(len(chunk))
            yield chunk
    except ClientDisconnect as error:
        raise Cancelled("the client left before its request was complete") from error


def too_large(max_bytes: int) -> TooLarge:
    """The refusal of a body."""
    return TooLarge(f"the request has more than {max_bytes} bytes")


async def unwrap_multipart(request: Request, chunks: Chunks, max_images: int) -> Unwrapped:
    """Parts called `image` (or `images`) are images, all others options."""
    parser = InMemoryParser(
        request.headers,
        chunks,
        max_files=max_images + 1,  # one more than allowed gets as far as the engine's own refusal
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise TooLarge(f"more than {max_images} images in a request") from error
        raise BadRequest(f"the multipart body is malformed: {error.message}") from error
    except ValueError as error:  # of the codec that the content type names
        raise BadRequest("the multipart body cannot be read in its charset") from error
    images: list[bytes] = []
    options: list[tuple[str, str]] = []
    for name, part in form.multi_items():
        if isinstance(part, UploadFile):
            if name not in (IMAGE_PART, IMAGES_PART):
                raise BadRequest(f"a file in the part {name[:40]!r}; images go into parts named {IMAGE_PART!r}")
            images.append(await part.read())
        elif name in (IMAGE_PART, IMAGES_PART):
            raise BadRequest(f"the part {name!r} is text, not a file: with curl, write -F {name}=@FILE")
        else:
            options.append((name, part))
    return Unwrapped(tuple(images), several=len(images) > 1, options=joined(options))


def joined(options: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each option's text; one that is given several times is a list, which commas separate."""
    found: dict[str, str] = {}
    for name, text in options:
        found[name] = f"{found[name]},{text}" if name in found else text
    return found


def unwrap_json(body: bytes, form: type[ImageBody]) -> Unwrapped:
    """The JSON form."""
    try:
        given = msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the JSON body is malformed: {error}") from error
    if (given.image is None) == (given.images is None):
        raise BadRequest('the JSON body needs either "image" or "images"')
    texts = given.images if given.images is not None else [given.image or ""]
    options = {name: getattr(given, name) for name in given.__struct_fields__ if name not in (IMAGE_PART, IMAGES_PART)}
    return Unwrapped(
        tuple(map(from_base64, texts)),
        several=given.images is not None,
        options={name: as_text(value) for name, value in options.items() if value is not None},
    )


def as_text(value: object) -> str:
    """An option's JSON value as the query has it."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def from_base64(text: str) -> bytes:
    """An image from its base64 form, with or without the head of a data URL. Raises BadRequest."""
    _, comma, rest = text.partition(",")
    try:
        return base64.b64decode(rest if comma else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest("an image is not valid base64") from error


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuses options that do not exist, with the closest that does."""
    for name in given:
        if name not in (known := tuple(known)):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise BadRequest(f"no option is called {name[:40]!r}; {hint}")
