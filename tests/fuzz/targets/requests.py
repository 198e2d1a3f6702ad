"""A request over HTTP: multipart, JSON or a bare image, with options in the query and in the body.

An input is the path with the query, the content type and the body, separated by line feeds.
"""

from tests.fuzz.service import post
from tests.fuzz.target import Target


def run(data: bytes) -> None:
    """Send a request."""
    target, _, rest = data.partition(b"\n")
    media_type, _, body = rest.partition(b"\n")
    path, _, query = target.partition(b"?")
    post("/" + path.decode("ascii", "replace"), query, [(b"content-type", media_type)], body)


TARGET = Target(run)
