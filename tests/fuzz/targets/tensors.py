"""A request of the Open Inference Protocol over HTTP: JSON, with binary values behind it or without.

An input is the length of the JSON part, which may be missing, a line feed, and the body.
"""

from tests.fuzz.service import post
from tests.fuzz.target import Target

PATH = "/v2/models/first/infer"


def run(data: bytes) -> None:
    """Send a request."""
    length, _, body = data.partition(b"\n")
    headers = [(b"inference-header-content-length", length)] if length else []
    post(PATH, b"", headers, body)


TARGET = Target(run)
