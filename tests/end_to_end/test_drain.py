"""Start and stop: ready after the warm-up, and a shutdown that loses no request."""

import asyncio
import os
import signal
import socket
import threading

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.load import call_until, connect_until, load, post_until
from tests.server import Server, wait_until


@pytest.mark.parametrize(
    ("client", "task"), [(post_until, "classify"), (connect_until, "classify"), (post_until, "detect")]
)
async def test_a_signal_to_stop_under_load_loses_no_request(cat, flags, client, task):
    with Server("--drain-delay-s", "1", *flags[task]) as server:
        target, rpc_target = server.http, server.grpc
        web = asyncio.create_task(load(24, client, lambda: False, target, cat, task=task))
        rpc = asyncio.create_task(load(8, call_until, lambda: False, rpc_target, cat, task=task))
        await asyncio.to_thread(server.wait_for, "request", count=60, code="ok")
        code = await asyncio.to_thread(server.stop)
        web_tally, rpc_tally = await asyncio.wait_for(asyncio.gather(web, rpc), 60)
    assert (web_tally.lost, rpc_tally.lost) == ([], [])
    assert set(web_tally.answers) == {200}
    assert web_tally.total + rpc_tally.total >= 60
    assert code == 0


async def test_calls_that_wait_to_be_accepted_at_the_shutdown_are_answered(cat):
    with Server("--drain-delay-s", "1") as server:
        web = asyncio.create_task(load(24, connect_until, lambda: False, server.http, cat))
        rpc = asyncio.create_task(load(64, call_until, lambda: False, server.grpc, cat))
        await asyncio.to_thread(server.wait_for, "request", count=200, code="ok")
        code = await asyncio.to_thread(server.stop)
        web_tally, rpc_tally = await asyncio.wait_for(asyncio.gather(web, rpc), 60)
    assert (web_tally.lost, rpc_tally.lost) == ([], [])
    assert code == 0


def test_readiness_ends_first_and_requests_are_still_served(cat):
    with Server("--drain-delay-s", "5") as server:
        url, channel = server.http, grpc.insecure_channel(server.grpc)
        health = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(health_pb2.HealthCheckRequest(service="twins.v1.Twins"))
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        server.process.send_signal(signal.SIGTERM)
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert httpx.get(f"{url}/readyz").status_code == 503
        assert httpx.get(f"{url}/livez").status_code == 200
        answered = httpx.post(f"{url}/classify", content=cat)
        assert answered.status_code == 200
        assert answered.headers["connection"] == "close"
        assert pb_grpc.TwinsStub(channel).Classify(pb.ClassifyRequest(image=cat)).predictions[0].label == "cat"


def test_an_open_health_watch_does_not_delay_the_shutdown():
    with Server("--grace-s", "60") as server, grpc.insecure_channel(server.grpc) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        assert server.stop() == 0
        assert server.events("drained")


def test_an_open_reflection_stream_does_not_delay_the_shutdown():
    never = threading.Event()

    def one_then_silence():
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        never.wait()

    with Server("--grace-s", "60") as server, grpc.insecure_channel(server.grpc) as channel:
        stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(one_then_silence())
        assert next(stream).list_services_response.service
        assert server.stop() == 0
        never.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_signals_of_a_terminal_cause_an_orderly_shutdown(number):
    with Server() as server:
        assert server.stop(number) == 0
        assert server.events("drained")


def test_an_idle_service_stops_successfully_without_any_grace():
    with Server("--grace-s", "0", "--drain-delay-s", "0") as server:
        assert server.stop() == 0


def test_an_idle_stream_does_not_delay_the_shutdown(cat):
    with Server("--grace-s", "60") as server, grpc.insecure_channel(server.grpc) as channel:
        never = threading.Event()

        def one_then_silence():
            yield pb.ClassifyRequest(image=cat, id="1")
            never.wait()

        stream = pb_grpc.TwinsStub(channel).ClassifyStream(one_then_silence())
        assert next(stream).result.predictions[0].label == "cat"
        assert server.stop() == 0
        never.set()


def test_a_second_signal_cancels_requests_in_flight(cat):
    with Server("--grace-s", "300", "--drain-delay-s", "0", "--hang-timeout-s", "600") as server:
        os.kill(server.pid("worker-0"), signal.SIGSTOP)

        async def ask():
            async with httpx.AsyncClient() as client:
                return await client.post(f"{server.http}/classify", content=cat, timeout=60)

        async def scenario():
            asking = asyncio.create_task(ask())
            await asyncio.to_thread(wait_until, lambda: server.metric("twins_in_flight_images") == 1, what="in flight")
            server.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(server.wait_for, "draining")
            code = await asyncio.to_thread(server.stop)
            await asyncio.gather(asking, return_exceptions=True)
            return code

        assert asyncio.run(scenario()) == 4


def test_the_service_is_not_ready_before_its_models_are_warm():
    port = free_port()
    with Server("--http-port", str(port), wait=False) as server:
        statuses = []

        def asked() -> bool:
            try:
                statuses.append(httpx.get(f"http://127.0.0.1:{port}/readyz").status_code)
            except httpx.ConnectError:
                return False
            return statuses[-1] == 200

        wait_until(asked, what="ready")
        assert statuses[0] == 503
        assert server.events("worker ready")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
