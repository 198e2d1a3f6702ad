"""The clients over HTTP. Their connections are kept open and reused."""

from typing import Any, cast

import httpx

from twins_client.answers import error as refused
from twins_client.answers import parse, query
from twins_client.errors import TwinsError
from twins_client.images import Image, encoded
from twins_client.methods import AsyncMethods, Methods
from twins_client.results import Result
from twins_client.retry import Retry, repeated, repeated_async
from twins_client.tls import Tls

TIMEOUT_S = 30.0
BINARY = "application/octet-stream"


class Connection:
    """What both clients know of the service."""

    def __init__(
        self,
        address: str = "http://localhost:8000",
        *,
        key: str | None = None,
        timeout: float = TIMEOUT_S,
        retry: Retry | None = None,
        tls: Tls | None = None,
    ) -> None:
        """`timeout` is the deadline of a call in seconds, with all its attempts. `tls` is for an https address."""
        self.address, self.timeout, self.retry = address.rstrip("/"), timeout, retry or Retry()
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.verify = tls.context() if tls else True

    def request(self, task: str, image: bytes, options: dict[str, Any], left_s: float) -> dict[str, Any]:
        """Return a request as httpx takes it. The service learns how much time is left, and never works in vain."""
        return {
            "method": "POST",
            "url": f"{self.address}/{task}",
            "params": query(options),
            "content": image,
            "headers": {**self.headers, "Content-Type": BINARY, "X-Request-Timeout": f"{left_s:.3f}"},
            "timeout": left_s,
        }

    def unanswered(self, error: httpx.HTTPError) -> TwinsError:
        """Return the error of a request that got no answer."""
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return TwinsError("deadline_exceeded", f"no answer within {self.timeout:g} s")
        return TwinsError("unreachable", str(error) or type(error).__name__)


def models_in(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the models in an answer. Raise TwinsError."""
    if answer.status_code != httpx.codes.OK:
        raise refused(answer.status_code, answer.headers, answer.content)
    return cast(list[dict[str, Any]], answer.json()["models"])


class Client(Connection, Methods):
    """A client of the service at an address. It may be used by several threads.

    >>> with Client("http://localhost:8000") as client:
    ...     client.classify("examples/cat.jpg", top_k=2).best.label
    'cat'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections = httpx.Client(verify=self.verify)

    def run(self, task: str, image: Image, options: dict[str, Any]) -> Result:
        """Return the result of an image, with as many attempts as it takes. Raise TwinsError."""
        data = encoded(image)

        def once(left_s: float) -> Result:
            try:
                answer = self.connections.request(**self.request(task, data, options, left_s))
            except httpx.HTTPError as error:
                raise self.unanswered(error) from error
            return parse(task, answer.status_code, answer.headers, answer.content)

        return repeated(once, self.retry, self.timeout)

    def models(self) -> list[dict[str, Any]]:
        """Return the models that are served. Raise TwinsError.

        >>> [each["name"] for each in client.models()][0]
        'twins_svt_nano'
        """

        def once(left_s: float) -> list[dict[str, Any]]:
            try:
                return models_in(self.connections.get(f"{self.address}/models", headers=self.headers, timeout=left_s))
            except httpx.HTTPError as error:
                raise self.unanswered(error) from error

        return repeated(once, self.retry, self.timeout)

    def close(self) -> None:
        """Close all connections."""
        self.connections.close()


class AsyncClient(Connection, AsyncMethods):
    """A client with coroutines.

    >>> async def label():
    ...     async with AsyncClient("http://localhost:8000") as client:
    ...         return (await client.classify("examples/cat.jpg")).best.label
    >>> asyncio.run(label())
    'cat'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections = httpx.AsyncClient(verify=self.verify)

    async def run(self, task: str, image: Image, options: dict[str, Any]) -> Result:
        """Return the result of an image, with as many attempts as it takes. Raise TwinsError."""
        data = encoded(image)

        async def once(left_s: float) -> Result:
            try:
                answer = await self.connections.request(**self.request(task, data, options, left_s))
            except httpx.HTTPError as error:
                raise self.unanswered(error) from error
            return parse(task, answer.status_code, answer.headers, answer.content)

        return await repeated_async(once, self.retry, self.timeout)

    async def models(self) -> list[dict[str, Any]]:
        """Return the models that are served. Raise TwinsError."""

        async def once(left_s: float) -> list[dict[str, Any]]:
            try:
                answer = await self.connections.get(f"{self.address}/models", headers=self.headers, timeout=left_s)
            except httpx.HTTPError as error:
                raise self.unanswered(error) from error
            return models_in(answer)

        return await repeated_async(once, self.retry, self.timeout)

    async def close(self) -> None:
        """Close all connections."""
        await self.connections.aclose()
