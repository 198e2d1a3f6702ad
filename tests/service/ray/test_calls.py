"""gRPC calls that a proxy passes on, without a proxy: as Ray Serve calls a replica."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest
from grpc_health.v1 import health_pb2

from service.core.engine import Engine
from service.oip import servicer
from service.pb.twins.v1 import twins_pb2 as pb
from service.ray.calls import NOTHING, TIMEOUT, Calls
from service.ray.methods import METHODS
from service.rpc.services import Services
from service.settings import Settings
from tests.service.core.engines import FakePool, png, until

CLASSIFY, STREAM = "/twins.v1.Twins/Classify", "/twins.v1.Twins/ClassifyStream"


@dataclass
class Given:
    """The copy of a context, as Ray Serve gives it to a replica."""

    metadata: list[tuple[str, str]] = field(default_factory=list)
    code: grpc.StatusCode | None = None
    details: str = ""
    trailing: dict[str, str] = field(default_factory=dict)

    def invocation_metadata(self):
        return self.metadata

    def peer(self):
        return "ipv4:192.0.2.7:50000"

    def set_code(self, code):
        self.code = code

    def set_details(self, details):
        self.details = details

    def set_trailing_metadata(self, trailing):
        assert isinstance(trailing, list)  # which Ray Serve adds to its own
        self.trailing = dict(trailing)


@dataclass
class Running:
    """Calls over a pool without workers."""

    pool: FakePool
    engine: Engine
    services: Services
    calls: Calls


@pytest.fixture
def make():
    def made(**settings) -> Running:
        pool = FakePool()
        engine = Engine(Settings(**settings), pool)
        services = Services(engine, [servicer.add])
        return Running(pool, engine, services, Calls(services))

    return made


def request(**fields) -> bytes:
    return pb.ClassifyRequest(**{"image": png(), **fields}).SerializeToString()


def test_no_two_services_have_methods_of_one_name():
    names = [method.name for method in METHODS]
    assert len(names) == len(set(names))


async def test_a_call_has_its_answer_and_its_id(make):
    given = Given([("x-request-id", "mine")])
    answer = await make().calls.answer(CLASSIFY, request(), given)
    assert answer.predictions[0].label == "light"
    assert (given.code, given.trailing) == (None, {"x-request-id": "mine"})


@pytest.mark.parametrize(
    ("message", "code", "twins_code"),
    [
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "bad_request"),
        (request(image=b"nothing"), grpc.StatusCode.INVALID_ARGUMENT, "unsupported_media_type"),
        (request(model="nothing"), grpc.StatusCode.NOT_FOUND, "unknown_model"),
    ],
)
async def test_an_error_is_in_the_context_that_goes_back_with_an_empty_answer(make, message, code, twins_code):
    given = Given()
    assert await make().calls.answer(CLASSIFY, message, given) is NOTHING
    assert not NOTHING.SerializeToString()
    assert (given.code, given.trailing["twins-code"]) == (code, twins_code)
    assert given.details


async def test_the_key_is_checked_before_the_message_is_read(make):
    given = Given()
    await make(api_keys=["secret"]).calls.answer(CLASSIFY, b"\xff", given)
    assert given.code is grpc.StatusCode.UNAUTHENTICATED


async def test_the_deadline_that_the_proxy_passes_on_ends_the_call(make):
    running, given = make(), Given([(TIMEOUT, "0.05")])
    running.pool.held = 1
    await running.calls.answer(CLASSIFY, request(), given)
    assert given.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_calls_count_against_the_limit_until_they_have_ended(make):
    running = make(max_calls=1)
    running.pool.gate.clear()
    first = asyncio.create_task(running.calls.answer(CLASSIFY, request(), Given()))
    await until(lambda: running.services.limits.open == 1)
    second = Given()
    await running.calls.answer(CLASSIFY, request(), second)
    assert (second.code, second.trailing["retry-after"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "1")
    running.pool.gate.set()
    assert (await first).predictions
    assert running.services.limits.open == 0
    assert running.engine.memory.reserved_bytes == 0


async def test_a_call_that_ray_cancels_is_abandoned(make):
    running = make()
    running.pool.held = 1
    call = asyncio.create_task(running.calls.answer(CLASSIFY, request(), Given()))
    await until(lambda: running.pool.held == 0)
    call.cancel()
    await asyncio.wait([call])
    assert (running.pool.abandoned, running.services.limits.open) == (1, 0)


async def messages(*given: bytes) -> AsyncIterator[bytes]:
    for each in given:
        yield each


async def test_a_stream_ends_with_what_carries_its_status(make):
    given = Given([("x-request-id", "mine")])
    found = [each async for each in make().calls.stream(STREAM, messages(request(id="a"), request(id="b")), given)]
    assert {each.id for each in found[:-1]} == {"a", "b"}
    assert found[-1] is NOTHING
    assert given.trailing == {"x-request-id": "mine"}


async def test_a_stream_that_is_refused_has_its_status(make):
    given = Given()
    found = [each async for each in make(api_keys=["secret"]).calls.stream(STREAM, messages(), given)]
    assert found == [NOTHING]
    assert given.code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_that_nobody_reads_ends_its_work(make):
    running = make()
    stream = running.calls.stream(STREAM, messages(*[request() for _ in range(100)]), Given())
    await anext(stream)
    await stream.aclose()
    await until(lambda: running.services.limits.open == 0)


async def test_the_health_of_a_replica_is_that_of_its_engine(make):
    running = make()
    await running.services.set_health(ready=True)
    check = health_pb2.HealthCheckRequest(service="twins.v1.Twins").SerializeToString()
    answer = await running.calls.answer("/grpc.health.v1.Health/Check", check, Given())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
