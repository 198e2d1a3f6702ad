"""The parts of a multipart form, read without ever writing to disk."""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.errors import BadRequest, TooLarge

IMAGE_PARTS = ("image", "images")
CHARSETS = (b"utf-8", b"utf8", b"us-ascii", b"ascii")
MAX_FIELDS, MAX_FIELD_BYTES = 32, 4096
PIECE_BYTES = 2**16


@dataclass(frozen=True)
class Part:
    """One part of a form: a file is bytes, a field is text."""

    name: str
    content: str | bytes
    filename: str = ""


class FormParser(MultiPartParser):
    """A parser that keeps files in memory, treats every image part as a file, and detects a missing end."""

    spool_max_size = 0  # 0 keeps a temporary file in memory, however large it is
    ended = False

    def on_headers_finished(self) -> None:
        """Mark images and other files as files. The framework does this only for parts with a file name."""
        part = self._current_part
        disposition = bytes(part.content_disposition or b"")
        _, options = parse_options_header(disposition)
        if b"filename" not in options and self.is_file(options.get(b"name", b""), disposition):
            part.content_disposition = disposition + b'; filename=""'
        super().on_headers_finished()

    def is_file(self, name: bytes, disposition: bytes) -> bool:
        """Return whether a part without a plain file name is a file, by its name, `filename*` or content type."""
        declared = dict(self._current_part.item_headers).get(b"content-type", b"")
        return (
            name.decode("latin-1") in IMAGE_PARTS
            or b"filename*" in disposition.lower()
            or bytes(declared).lower().startswith((b"image/", b"application/octet-stream"))
        )

    def on_end(self) -> None:
        """Record that the closing boundary has arrived."""
        self.ended = True


ONLY_IMAGE = re.compile(
    rb'(?i:Content-Disposition: form-data; name=)"(images?)"(?:(?i:; filename=)"([ !#-\[\]-~]*)")?\r\n'
    rb"(?:(?i:Content-Type): [ -~]*\r\n)?\r\n",
)
"""The headers of an image's part, as curl and most libraries write them."""


def only_image(body: bytes, boundary: bytes) -> Part | None:
    """Return the part of a form that has one image and nothing else, as most forms do; None if it needs the parser."""
    begin, end = b"--" + boundary + b"\r\n", b"\r\n--" + boundary
    head = ONLY_IMAGE.match(body, len(begin)) if body.startswith(begin) else None
    if head is None:
        return None
    stop = body.find(end, head.end())
    if stop < 0 or body[stop + len(end) :] not in (b"--", b"--\r\n"):
        return None
    name, filename = (group.decode("ascii") for group in head.groups(b""))
    return Part(name, body[head.end() : stop], filename)


async def pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    """Yield the body in pieces, which the parser copies one by one."""
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]


async def read_parts(body: bytes, content_type: str, parameters: dict[bytes, bytes], max_images: int) -> list[Part]:
    """Return the parts of a form in order. Raises BadRequest, TooLarge."""
    if not (boundary := parameters.get(b"boundary")):
        raise BadRequest("the multipart Content-Type has no boundary; let your HTTP client set this header")
    if parameters.get(b"charset", b"utf-8").lower() not in CHARSETS:
        raise BadRequest("the multipart charset is not utf-8")
    if part := only_image(body, boundary):
        return [part]
    parser = FormParser(
        Headers({"content-type": content_type}),
        pieces(body),
        max_files=max_images + 1,  # with one more than allowed, the engine refuses the request itself
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise TooLarge(f"the request has more than {max_images} images") from error
        raise BadRequest(f"the multipart body is malformed: {error.message}") from error
    except ValueError as error:  # from decoding a text field
        raise BadRequest("the multipart body is not valid in its charset") from error
    if not parser.ended:
        raise BadRequest("the multipart body is not terminated: its closing boundary is missing")
    return [
        Part(name, await part.read(), part.filename or "") if isinstance(part, UploadFile) else Part(name, part)
        for name, part in form.multi_items()
    ]
