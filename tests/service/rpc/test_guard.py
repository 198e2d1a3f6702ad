"""What is checked before a message is received: the key, its scope, the queue and the share of the client."""

import asyncio

import grpc
import pytest
from structlog.testing import capture_logs

from service import metric_series
from service.access.keys import digest
from service.core.order_log import MAX_NAME
from service.oip.servicer import UNIMPLEMENTED
from service.pb.inference import grpc_service_pb2 as v2
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.rpc.methods import ORDERS, PROBES, SCOPES, TWINS, V2, kind_of
from tests.http2 import Client
from tests.service.core.engines import png, until
from tests.service.counting import counted
from tests.service.rpc.conftest import Running

CLASSIFY, CHECK, WATCH = f"{TWINS}Classify", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REQUEST = pb.ClassifyRequest(image=png(), model="first")
RESOURCE_EXHAUSTED, UNAUTHENTICATED = "8", "16"


async def status_by_headers(target: str, method: str, *metadata: tuple[str, str]) -> tuple[str, str]:
    """Return the status and the code of a call whose message never comes."""
    with Client(target) as client:
        client.send(client.headers(1, method, *metadata))
        (status,) = (await asyncio.to_thread(client.statuses, 1)).values()
        return status, client.fields["twins-code"]


def test_every_method_is_in_the_table_or_needs_no_key():
    services = {TWINS: pb.DESCRIPTOR.services_by_name["Twins"]}
    services[V2] = v2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    methods = {f"{prefix}{name}" for prefix, service in services.items() for name in service.methods_by_name}
    keyless = {f"{V2}{name}" for name in ("ServerMetadata", *UNIMPLEMENTED)}
    assert methods - SCOPES.keys() - PROBES == keyless
    assert methods > SCOPES.keys() > ORDERS.keys()
    assert {kind_of(method) for method in keyless | {WATCH}} == {"keyless"}


@pytest.mark.parametrize("method", SCOPES)
async def test_a_call_without_a_key_is_refused_before_its_message_arrives(serve, method):
    running = await serve(api_keys=("a:one",))
    before = counted(metric_series.REQUESTS, protocol="grpc", code="unauthenticated")
    assert await status_by_headers(running.target, method) == (UNAUTHENTICATED, "unauthenticated")
    assert counted(metric_series.REQUESTS, protocol="grpc", code="unauthenticated") == before + 1
    await until(lambda: running.engine.memory.reserved_bytes == 0)


@pytest.mark.parametrize(
    ("setting", "code"), [("client_in_flight", "quota_exceeded"), ("max_queue", "overloaded")], ids=str
)
async def test_a_call_without_room_is_refused_before_its_message_arrives(serve, setting, code):
    running = await serve(**{setting: 1})
    running.pool.gate.clear()
    first = asyncio.ensure_future(pb_grpc.TwinsStub(running.channel).Classify(REQUEST))
    await until(lambda: running.pool.asked)
    before = counted(metric_series.REQUESTS, protocol="grpc", code=code)
    assert await status_by_headers(running.target, CLASSIFY) == (RESOURCE_EXHAUSTED, code)
    assert counted(metric_series.REQUESTS, protocol="grpc", code=code) == before + 1
    running.pool.gate.set()
    assert (await first).predictions


async def test_a_refusal_has_the_id_of_its_call_and_the_time_to_wait(serve):
    running = await serve(client_images_per_s=0.01)
    stub = pb_grpc.TwinsStub(running.channel)
    await stub.Classify(REQUEST)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Classify(REQUEST, metadata=(("x-request-id", "mine"),))
    trailing = dict(caught.value.trailing_metadata())
    assert (trailing["x-request-id"], trailing["twins-code"]) == ("mine", "quota_exceeded")
    assert int(trailing["retry-after"]) > 1


async def test_a_check_of_health_without_a_message_reserves_nothing_and_ends_soon(serve, monkeypatch):
    monkeypatch.setattr("service.rpc.limits.SHORT_RECEIVE_S", 0.2)
    running = await serve(request_timeout_s=3600)
    with Client(running.target) as client:
        client.send(client.headers(1, CHECK))
        await until(lambda: running.server.limits.open_of["probe"] == 1)
        assert (running.server.limits.open, running.engine.memory.reserved_bytes) == (0, 0)
        assert await asyncio.to_thread(client.statuses, 1) == {1: "4"}  # DEADLINE_EXCEEDED
    await until(lambda: running.server.limits.open_of["probe"] == 0)


ORDER = v2.RepositoryModelLoadRequest(model_name="pets")
SCOPED = '[[keys]]\nname = "reader"\nsha256 = "{}"\nscopes = ["models"]\n'


async def order(running: Running, *, key: str, request: object = ORDER) -> tuple[grpc.StatusCode, dict]:
    """Send an order, and return its status and its log line."""
    method = running.channel.unary_unary(
        f"{V2}RepositoryModelLoad",
        request_serializer=lambda each: each if isinstance(each, bytes) else each.SerializeToString(),
    )
    with capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(request, metadata=(("x-api-key", key),))
    (line,) = (line for line in lines if line["event"] == "model order")
    return caught.value.code(), line


@pytest.fixture
async def scoped(serve, tmp_path) -> Running:
    """Return a server that knows the key `read`, which may not change what is served."""
    path = tmp_path / "keys.toml"
    path.write_text(SCOPED.format(digest("read").hex()))
    return await serve(keys_file=path)


async def test_an_order_that_its_key_does_not_allow_is_logged_with_its_model(scoped):
    status, line = await order(scoped, key="read")
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert (line["key"], line["model"], line["order"], line["outcome"]) == ("reader", "pets", "load", "forbidden")


async def test_an_order_without_a_known_key_is_logged_without_its_model_which_is_not_received(scoped):
    status, line = await order(scoped, key="wrong")
    assert status is grpc.StatusCode.UNAUTHENTICATED
    assert (line["key"], line["model"], line["code"]) == ("", "", "unauthenticated")


async def test_an_order_that_cannot_be_read_is_forbidden_without_the_scope(scoped):
    status, line = await order(scoped, key="read", request=b"\xff\xff")
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert (line["model"], line["outcome"]) == ("", "forbidden")


async def test_an_order_whose_message_does_not_come_in_time_ends_and_is_logged(serve):
    running = await serve(api_keys=("a:one",), request_timeout_s=0.3)
    with capture_logs() as lines:
        status, code = await status_by_headers(running.target, f"{V2}RepositoryModelLoad", ("x-api-key", "one"))
    assert (status, code) == ("4", "request_timeout")
    assert [line["outcome"] for line in lines if line["event"] == "model order"] == ["failed"]


async def test_the_long_name_of_a_forbidden_order_does_not_fill_the_log(scoped):
    _, line = await order(scoped, key="read", request=v2.RepositoryModelLoadRequest(model_name="a" * 2**20))
    assert len(line["model"]) == MAX_NAME
