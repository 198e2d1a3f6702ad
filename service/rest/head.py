"""The limits of what a connection sends around bodies: the target and the headers of requests, chunks and trailers."""

from collections.abc import Sequence
from http import HTTPStatus

from service.rest.refusals import Refusal, headers_too_large, malformed

MAX_HEAD_BYTES = 2**16  # that arrive before a body or between two of its chunks
MAX_HEADERS = 128

Header = tuple[bytes, bytes]


class Head:
    """What has arrived of the head of the newest request on a connection."""

    def __init__(self) -> None:
        self.open = False  # whether its headers are not complete
        self.pending_bytes = 0  # since the last byte of a body: headers, trailers, and what delimits chunks
        self.field_bytes = 0  # of the headers of one request

    def begin(self) -> None:
        """Start the head of a request."""
        self.open, self.field_bytes = True, 0

    def complete(self) -> None:
        """End the head."""
        self.open = False

    def add_bytes(self, size_bytes: int) -> None:
        """Count bytes before they are parsed."""
        self.pending_bytes += size_bytes

    def check_bytes(self) -> None:
        """Raise Refusal if too much has arrived without being a body."""
        if self.pending_bytes > MAX_HEAD_BYTES:
            raise headers_too_large()

    def read_body(self) -> None:
        """Count anew after a piece of a body."""
        self.pending_bytes = 0

    def add_field(self, name: bytes, value: bytes, *, earlier: int) -> None:
        """Count a header after so many earlier ones. Raise Refusal for too many of them, or too many bytes."""
        if earlier == MAX_HEADERS:
            detail = f"the request has more than {MAX_HEADERS} headers"
            raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
        self.field_bytes += len(name) + len(value)
        if self.field_bytes > MAX_HEAD_BYTES:  # all in one piece, whose body `pending_bytes` does not count
            raise headers_too_large()


def check_headers(headers: Sequence[Header], version: str) -> None:
    """Raise Refusal for headers that the parser accepts and HTTP of that version does not."""
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise malformed("it must have one Host header")
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and codings != [b"chunked"]:
        detail = "the Transfer-Encoding is not supported; send the body with a Content-Length, or chunked"
        raise Refusal(HTTPStatus.NOT_IMPLEMENTED, detail)
