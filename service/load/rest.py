"""Send images over HTTP, each as the body of a request."""

import aiohttp
import msgspec

from service.load.target import SUCCEEDED, RequestPlan


class ProblemCode(msgspec.Struct):
    """The part of a problem document that names the error."""

    code: str


class RestTarget:
    """An endpoint over HTTP/1.1 with connections that stay open."""

    def __init__(self, plan: RequestPlan) -> None:
        self.url, self.params = plan.url, dict(plan.options)
        headers = {"Content-Type": "application/octet-stream"}
        if plan.api_key:
            headers["Authorization"] = f"Bearer {plan.api_key}"
        if plan.deadline_s:
            headers["X-Request-Timeout"] = str(plan.deadline_s)
        if plan.accept:
            headers["Accept"] = plan.accept
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=plan.connections, ssl=plan.tls.context()),
            timeout=aiohttp.ClientTimeout(total=plan.timeout_s),
            headers=headers,
        )

    async def send(self, image: bytes) -> str:
        """Send one image and read the whole answer. Return SUCCEEDED or the code of the error."""
        try:
            async with self.session.post(self.url, data=image, params=self.params) as answer:
                body = await answer.read()
        except TimeoutError:
            return "client_timeout"
        except aiohttp.ClientConnectorError:
            return "cannot_connect"
        except aiohttp.ClientError:
            return "connection_lost"
        return SUCCEEDED if answer.status < 400 else error_code(answer.status, body)

    async def close(self) -> None:
        """Close the connections."""
        await self.session.close()


def error_code(status: int, body: bytes) -> str:
    """Return the code of a problem document, or the status if the body is none."""
    try:
        return msgspec.json.decode(body, type=ProblemCode).code
    except msgspec.DecodeError:
        return f"http_{status}"
