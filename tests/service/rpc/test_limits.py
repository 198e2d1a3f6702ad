"""The limits of the gRPC port: how many calls may be open, and of what is refused before it is received."""

import asyncio
import resource
from ipaddress import ip_network

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hyperframe.frame import HeadersFrame

from service import metric_series
from service.core.memory import MemoryBudget
from service.errors import Overloaded
from service.pb.inference import grpc_service_pb2 as v2
from service.pb.inference import grpc_service_pb2_grpc as v2_grpc
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.rpc import limits
from service.rpc.limits import CallLimits, max_connections
from service.settings import Settings
from tests.http2 import PREFACE, Client
from tests.service.core.engines import png, until
from tests.service.counting import counted

CLASSIFY = pb.ClassifyRequest(image=png(), model="first")
RESOURCE_EXHAUSTED = "8"


TRUSTED = "10.1.2.3:4"


@pytest.fixture
def admitting():
    """Return a function that makes the limits of settings."""

    def make(**settings):
        chosen = Settings(**settings)
        return CallLimits(chosen, MemoryBudget(2**20), [ip_network("10.0.0.0/8")])

    return make


def test_a_call_that_ends_makes_room_for_another(admitting):
    calls = admitting(max_calls=1)
    first = calls.admit("1.2.3.4:5")
    with pytest.raises(Overloaded):
        calls.admit("1.2.3.4:5")
    first.end()
    calls.admit("1.2.3.4:5").end()
    assert calls.open == 0


def test_addresses_have_limits_of_their_own(admitting):
    calls = admitting(max_calls_per_address=1)
    calls.admit("1.2.3.4:5")
    with pytest.raises(Overloaded, match="your address has 1 open calls"):
        calls.admit("1.2.3.4:6")
    calls.admit("1.2.3.5:5")


def test_a_network_of_ipv6_is_one_client(admitting):
    calls = admitting(max_calls_per_address=1)
    calls.admit("[2001:db8::1]:5")
    with pytest.raises(Overloaded):
        calls.admit("[2001:db8::2]:5")
    calls.admit("[2001:db8:0:1::1]:5")


def test_trusted_proxies_and_unknown_peers_are_exempt_from_the_limit_per_address(admitting):
    calls = admitting(max_calls_per_address=1)
    for host in (TRUSTED, TRUSTED, "unix", "unix"):
        calls.admit(host)


def test_one_address_cannot_hold_all_calls_by_default(admitting):
    calls = admitting()
    opened = calls.by_kind["keyed"].per_address
    assert 0 < opened < calls.by_kind["keyed"].in_all
    for _ in range(opened):
        calls.admit("1.2.3.4:5")
        calls.admit(TRUSTED, "probe")  # more than are allowed of an address that is not trusted
    with pytest.raises(Overloaded, match="your address has 512 open calls"):
        calls.admit("1.2.3.4:5")
    calls.admit("1.2.3.5:5")


@pytest.mark.parametrize("kind", ["keyless", "probe"])
def test_calls_that_need_no_key_are_few_and_take_no_room_of_others(admitting, kind):
    calls = admitting(max_calls=1)
    limit = calls.by_kind[kind]
    in_all, of_address = (counted(metric_series.CONNECTIONS_REFUSED, reason=reason) for reason in limit.reasons)
    for _ in range(limit.per_address):
        calls.admit("1.2.3.4:5", kind)
    with pytest.raises(Overloaded, match="your address has 32 open"):
        calls.admit("1.2.3.4:5", kind)
    for _ in range(limit.in_all - limit.per_address):
        calls.admit("unix", kind)
    with pytest.raises(Overloaded, match="are open, which is the limit"):
        calls.admit("1.2.3.5:5", kind)
    found = [counted(metric_series.CONNECTIONS_REFUSED, reason=reason) for reason in limit.reasons]
    assert found == [in_all + 1, of_address + 1]
    calls.admit("1.2.3.4:5")


def test_addresses_without_calls_are_forgotten(admitting):
    calls = admitting(max_calls_per_address=5)
    for call in [calls.admit(f"1.2.3.{number}:1") for number in range(10)]:
        call.end()
    assert not calls.of_address


def test_no_option_of_connections_is_overridden(monkeypatch):
    for number, name in enumerate(limits.CONNECTION_OPTIONS):
        monkeypatch.setitem(limits.CONNECTION_OPTIONS, name, number)
    assert limits.CONNECTION_OPTIONS.items() <= dict(limits.server_options(Settings())).items()


def test_connections_are_limited_to_a_share_of_the_open_files(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert max_connections() == 128
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert max_connections() == limits.MOST_CONNECTIONS


# ------------------------------------------------------------------ the running server


async def refusal(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.fixture
async def full(serve):
    """Return a server for two calls, which waits for the device with both."""
    running = await serve(max_calls=2)
    running.pool.gate.clear()
    waiting = [asyncio.ensure_future(pb_grpc.TwinsStub(running.channel).Classify(CLASSIFY)) for _ in range(2)]
    await until(lambda: len(running.pool.asked) == 2)
    yield running
    running.pool.gate.set()
    assert [answer.predictions[0].label for answer in await asyncio.gather(*waiting)] == ["light"] * 2
    await until(lambda: running.server.limits.open == 0)
    assert running.engine.memory.reserved_bytes == 0


async def test_a_call_too_many_is_refused_and_counted(full):
    before = counted(metric_series.CONNECTIONS_REFUSED, protocol="grpc", reason="limit")
    error = await refusal(pb_grpc.TwinsStub(full.channel).Classify(CLASSIFY))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(error.trailing_metadata())
    assert (trailing["twins-code"], trailing["retry-after"]) == ("overloaded", "1")
    assert counted(metric_series.CONNECTIONS_REFUSED, protocol="grpc", reason="limit") == before + 1


async def test_a_stream_and_a_call_of_the_other_service_are_refused_alike(full):
    streamed = pb_grpc.TwinsStub(full.channel).ClassifyStream(iter([CLASSIFY]))
    assert (await refusal(streamed.read())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = v2_grpc.GRPCInferenceServiceStub(full.channel).ModelMetadata(v2.ModelMetadataRequest())
    assert (await refusal(metadata)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_health_is_answered_and_watched_beyond_the_limit(full):
    health, oip = health_pb2_grpc.HealthStub(full.channel), v2_grpc.GRPCInferenceServiceStub(full.channel)
    assert (await health.Check(health_pb2.HealthCheckRequest())).status
    assert (await oip.ServerLive(v2.ServerLiveRequest())).live
    watched = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watched.read()).status
    watched.cancel()
    await until(lambda: full.server.limits.open == 2)


async def test_a_call_too_many_is_refused_before_its_message_arrives(full):
    with Client(full.target) as client:
        client.send(client.headers(1, "/twins.v1.Twins/Classify"))
        assert await asyncio.to_thread(client.statuses, 1) == {1: RESOURCE_EXHAUSTED}


async def test_a_client_that_sends_a_large_message_learns_why_its_call_is_refused(full):
    large = pb.ClassifyRequest(image=bytes(10 * 2**20))
    error = await refusal(pb_grpc.TwinsStub(full.channel).Classify(large))
    assert dict(error.trailing_metadata())["twins-code"] == "overloaded"
    with grpc.insecure_channel(full.target) as channel, pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(pb_grpc.TwinsStub(channel).Classify, large)
    assert dict(caught.value.trailing_metadata())["twins-code"] == "overloaded"


async def test_one_address_may_have_so_many_open_calls(serve):
    running = await serve(max_calls_per_address=1)
    stub = pb_grpc.TwinsStub(running.channel)
    stream = stub.ClassifyStream()
    await stream.write(CLASSIFY)
    await stream.read()
    assert "your address has 1 open calls" in (await refusal(stub.Classify(CLASSIFY))).details()
    stream.cancel()
    await until(lambda: running.server.limits.open == 0)
    assert (await stub.Classify(CLASSIFY)).predictions


async def test_a_call_is_refused_before_its_message_arrives_if_no_memory_is_left(serve):
    running = await serve()
    with running.engine.memory.open() as account, Client(running.target) as client:
        account.count(running.engine.settings.max_held_bytes)
        client.send(client.headers(1, "/twins.v1.Twins/Classify"))
        assert await asyncio.to_thread(client.statuses, 1) == {1: RESOURCE_EXHAUSTED}


async def test_a_message_that_does_not_arrive_ends_its_call(serve):
    running = await serve(request_timeout_s=0.05)
    before = counted(metric_series.REQUESTS, protocol="grpc", code="request_timeout")
    with Client(running.target) as client:
        client.send(client.headers(1, "/twins.v1.Twins/Classify"))
        assert await asyncio.to_thread(client.statuses, 1) == {1: "4"}  # DEADLINE_EXCEEDED
    assert counted(metric_series.REQUESTS, protocol="grpc", code="request_timeout") == before + 1
    await until(lambda: running.engine.memory.reserved_bytes == 0)


async def test_answers_that_clients_do_not_fetch_count_as_memory(serve):
    running = await serve()
    with Client(running.target, window=0) as client:
        client.call(1, "/twins.v1.Twins/Classify", CLASSIFY.SerializeToString())
        await asyncio.to_thread(client.wait_for, lambda frame: isinstance(frame, HeadersFrame))  # before the message
        assert running.engine.memory.reserved_bytes > 0
    await until(lambda: running.engine.memory.reserved_bytes == 0)


# ------------------------------------------------------------------ connections


async def test_connections_that_never_complete_the_preface_are_closed(serve, monkeypatch):
    monkeypatch.setitem(limits.CONNECTION_OPTIONS, "grpc.server_handshake_timeout_ms", 50)
    running = await serve()
    for sent in (b"", PREFACE[:5], PREFACE):
        with Client(running.target, preface=False) as client:
            client.socket.sendall(sent)
            await asyncio.to_thread(client.wait_for_end)


async def test_a_connection_too_many_is_closed_and_the_others_work(serve, monkeypatch):
    monkeypatch.setattr(limits, "max_connections", lambda: 2)
    running = await serve()
    with Client(running.target) as first, Client(running.target) as second:
        await asyncio.to_thread(first.round_trip)
        await asyncio.to_thread(second.round_trip)
        with Client(running.target, preface=False) as third:
            await asyncio.to_thread(third.wait_for_end)
        await asyncio.to_thread(first.round_trip)


async def test_a_client_that_answers_no_ping_is_cut_off(serve, monkeypatch):
    for option in ("grpc.keepalive_time_ms", "grpc.http2.ping_timeout_ms"):
        monkeypatch.setitem(limits.CONNECTION_OPTIONS, option, 50)
    running = await serve()
    with Client(running.target) as client:
        client.send(client.headers(1, "/twins.v1.Twins/ClassifyStream"))
        await until(lambda: running.server.limits.open == 1)
        await until(lambda: running.server.limits.open == 0)
