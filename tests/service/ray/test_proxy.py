"""What runs in the proxies of Ray Serve, around applications and methods that behave as Ray Serve's do."""

import asyncio

import grpc
import httpx
import pytest

from service.ray.calls import TIMEOUT
from service.ray.proxy import Answers, add_services

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


async def ask(app, *, limit: int = 100, body: bytes = b"x", path: str = "/classify") -> httpx.Response:
    """Return the answer of the middleware around an application."""
    transport = httpx.ASGITransport(app=Answers(app, limit))
    async with httpx.AsyncClient(transport=transport, base_url="http://ray") as client:
        return await client.post(path, content=body, headers={"x-request-id": "mine"})


def refusing(status: int, media_type: bytes = b"text/plain; charset=utf-8"):
    """Return an application that answers as Ray Serve's proxy does."""

    async def app(scope, receive, send):
        headers = [(b"content-type", media_type), (b"x-request-id", b"first"), (b"X-Request-ID", b"second")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"from inside"})

    return app


async def test_a_request_whose_replica_has_ended_may_be_repeated():
    async def app(scope, receive, send):
        pass  # Ray Serve sends nothing

    answer = await ask(app)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (answer.json()["code"], answer.json()["request_id"]) == ("unavailable", "mine")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("status", "expected"), [(404, 503), (429, 429), (503, 503)])
async def test_a_refusal_of_the_proxy_becomes_a_problem(status, expected):
    answer = await ask(refusing(status))
    assert answer.status_code == expected
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_answer_of_a_replica_passes_through_with_one_id():
    answer = await ask(refusing(404, b"application/problem+json"))
    assert (answer.status_code, answer.text) == (404, "from inside")
    assert answer.headers.get_list("x-request-id") == ["first"]


async def test_the_proxys_own_paths_keep_their_answers():
    answer = await ask(refusing(503), path="/-/healthz")
    assert (answer.status_code, answer.text) == (503, "from inside")


async def test_the_proxy_reads_no_further_than_the_limit():
    read = 0

    async def app(scope, receive, send):
        nonlocal read

        async def read_all():
            nonlocal read
            while True:
                read += len((await receive()).get("body", b""))

        reading = asyncio.create_task(read_all())
        await asyncio.sleep(0.05)
        reading.cancel()
        await send(START)
        await send({"type": "http.response.body", "body": b""})

    chunks = 100

    async def body():
        for _ in range(chunks):
            yield b"x" * 10

    await ask(app, limit=100, body=body())
    assert read == 110


class Proxy:
    """A server to which Ray Serve adds methods: it replaces those of the handlers that it is given."""

    def __init__(self, server, behaviour) -> None:
        self.server, self.behaviour = server, behaviour

    def add_generic_rpc_handlers(self, handlers):
        (handler,) = handlers
        one = grpc.unary_unary_rpc_method_handler(self.behaviour)
        handler._method_handlers = {
            path: one._replace(unary_stream=self.behaviour, stream_stream=self.behaviour)
            for path in handler._method_handlers
        }
        self.server.add_generic_rpc_handlers(handlers)


async def call(behaviour, path: str, *, stream: bool = False, timeout: float = 5.0):  # noqa: ASYNC109
    """Return the answers to a call, or the error."""
    server = grpc.aio.server()
    add_services(None, Proxy(server, behaviour))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            if stream:
                return [each async for each in channel.stream_stream(path)(iter([b"a"]), timeout=timeout)]
            return await channel.unary_unary(path)(b"message", timeout=timeout)
    except grpc.aio.AioRpcError as error:
        return error
    finally:
        await server.stop(None)


async def test_a_message_passes_as_bytes_with_the_time_that_is_left():
    seen = {}

    async def behaviour(message, context):
        seen.update(context.invocation_metadata())
        return message.upper()

    assert await call(behaviour, "/twins.v1.Twins/Classify") == b"MESSAGE"
    assert 4.0 < float(seen[TIMEOUT]) <= 5.0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE),
        (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_a_refusal_of_the_grpc_proxy_gets_our_status_and_code(code, expected):
    async def behaviour(message, context):
        context.set_code(code)
        context.set_details("The actor died")
        return b""

    error = await call(behaviour, "/twins.v1.Twins/Classify")
    assert error.code() is expected
    assert "actor" not in error.details()
    assert dict(error.trailing_metadata())["retry-after"] == "1"


async def test_an_error_of_a_replica_passes_through():
    async def behaviour(message, context):
        context.set_code(grpc.StatusCode.INTERNAL)
        context.set_details("ours")
        context.set_trailing_metadata((("twins-code", "internal"),))
        return b""

    error = await call(behaviour, "/twins.v1.Twins/Classify")
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "ours")


async def test_an_empty_message_of_a_stream_brings_only_the_status():
    async def behaviour(messages, context):
        async for each in messages:
            yield each
        context.set_trailing_metadata((("x-request-id", "mine"),))
        yield b""

    assert await call(behaviour, "/twins.v1.Twins/ClassifyStream", stream=True) == [b"a"]


async def test_a_method_that_no_service_has_is_unimplemented():
    error = await call(None, "/twins.v1.Twins/Nothing")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
