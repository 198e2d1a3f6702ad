"""`docker stop` under load: the supervisor gets the signal, and a client that follows readiness loses no request."""

import asyncio
import time

import pytest

from tests.container.stack import Stack
from tests.load import Tally, call_until, load, post_until
from tools.documents import ROOT

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

CAT = (ROOT / "examples" / "cat.jpg").read_bytes()
CLIENTS = 4  # per protocol
BEFORE = 20  # answered requests before the signal


@pytest.fixture
def loaded(engine):
    """Start a service whose drain delay is long enough to be noticed on a busy machine."""
    with Stack(engine, "loaded", services=("twins",), TWINS_DRAIN_DELAY_S="3") as running:
        yield running


def answered(events: list[dict]) -> list[dict]:
    """Return the log lines of answered requests."""
    return [event for event in events if event.get("code") == "ok"]


async def stop_under_load(stack: Stack) -> list[Tally]:
    """Stop the container of the service while clients send requests. Return the outcomes of their requests."""
    unready = asyncio.Event()

    async def balancer() -> None:
        while await asyncio.to_thread(stack.ready):
            await asyncio.sleep(0.05)
        unready.set()

    clients = [
        load(CLIENTS, post_until, unready.is_set, stack.http, CAT),
        load(CLIENTS, call_until, unready.is_set, stack.grpc, CAT),
    ]
    asking = asyncio.gather(*clients)
    watching = asyncio.create_task(balancer())
    until = time.monotonic() + 60
    while len(answered(await asyncio.to_thread(stack.events))) < BEFORE:
        assert time.monotonic() < until, "too few requests were answered"
    await asyncio.to_thread(stack.engine.docker, "stop", "--time", "45", stack.container())
    await watching
    return await asking


def test_docker_stop_under_load_loses_no_request(loaded):
    over_http, over_grpc = asyncio.run(stop_under_load(loaded))
    assert over_http.lost == over_grpc.lost == []
    assert set(over_http.answers) == {200}
    assert set(over_grpc.answers) == {"OK"}
    events = loaded.events()
    assert len(answered(events)) == over_http.total + over_grpc.total
    stopping = next(place for place, event in enumerate(events) if event["event"] == "stopping")
    assert answered(events[stopping:]), "nothing was in flight when the signal came"
    state = loaded.facts()["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
