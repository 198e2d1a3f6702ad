"""What a load generator sends requests to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from service.load.tls import ClientTls

SUCCEEDED = "ok"
"""The outcome of a request that succeeded. Any other outcome is the code of an error."""


@dataclass(frozen=True)
class RequestPlan:
    """How every request is made."""

    url: str  # http://HOST:PORT/TASK or grpc://HOST:PORT/TASK; https and grpcs use TLS
    options: Mapping[str, str] = field(default_factory=dict)  # of the task, and the model
    api_key: str | None = None
    deadline_s: float | None = None  # sent to the service
    timeout_s: float = 60.0  # after which the client gives up
    accept: str | None = None  # the media type of the answer, over HTTP
    connections: int = 256  # at most, over HTTP
    tls: ClientTls = field(default_factory=ClientTls)


class Target(Protocol):
    """A service that takes images."""

    async def send(self, image: bytes) -> str:
        """Send one image and read the whole answer. Return SUCCEEDED or the code of the error."""

    async def close(self) -> None:
        """Close the connections."""
