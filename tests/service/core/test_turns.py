"""Turns of several models on one device, on a fake clock: how long a request waits, and that no model starves."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.batcher import Batcher, Turns
from tests.clock import now, run

SLOW_S, FAST_S = 1.0, 0.05


@dataclass(frozen=True)
class Ran:
    """One batch on the device."""

    group: str
    items: tuple[int, ...]
    began: float
    ended: float


@dataclass
class Device:
    """Take a fixed time for a batch of each model, or the next of some durations."""

    takes_s: dict[str, float]
    ran: list[Ran] = field(default_factory=list)
    arrived: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.run, max_batch=4, group=lambda key: key[0])

    async def run(self, key: str, items: list[int]) -> list[int]:
        began = now()
        await asyncio.sleep(self.takes_s[key[0]])
        self.ran.append(Ran(key[0], tuple(items), began, now()))
        return items

    async def submit(self, key: str, item: int) -> None:
        """Submit one request. A key is the letter of a model and perhaps a shape."""
        self.arrived[item] = now()
        await self.batcher.submit(key, item)

    async def client(self, key: str, until: float) -> None:
        """Send one request after another until this time."""
        while now() < until:
            await self.submit(key, len(self.arrived))

    async def serve(self, *clients) -> None:
        """Run the batcher until the clients have finished."""
        server = asyncio.create_task(self.batcher.serve())
        await asyncio.gather(*clients)
        server.cancel()

    def busy_s(self, *, since: float = 0.0, until: float = float("inf")) -> Counter:
        """Return the device time of the batches of each model in this interval."""
        busy: Counter[str] = Counter()
        for batch in self.ran:
            if since <= batch.began and batch.ended <= until:
                busy[batch.group] += batch.ended - batch.began
        return busy

    def between(self, arrival: float, item: int) -> Counter:
        """Return how many batches of each model began between an arrival and the batch of the item."""
        (own,) = (batch for batch in self.ran if item in batch.items)
        return Counter(batch.group for batch in self.ran if arrival < batch.began < own.began)


def saturated(device: Device, groups: str, until: float, *, clients: int = 8) -> list:
    """Run this many clients of each model."""
    return [device.client(group, until) for group in groups for _ in range(clients)]


@pytest.mark.parametrize("others", ["a", "abc"])
def test_a_request_waits_for_the_running_batch_and_one_batch_of_each_other_model(others):
    device = Device({"a": SLOW_S, "b": 0.3, "c": FAST_S, "x": FAST_S})

    async def late() -> None:
        await asyncio.sleep(10.5)
        await device.submit("x", -1)

    async def scenario() -> None:
        await device.serve(*saturated(device, others, 15), late())

    run(scenario())
    waited_for = device.between(10.5, -1)
    assert set(waited_for.values()) <= {1}


def test_a_client_of_a_fast_model_waits_for_the_running_batch_and_one_more_of_a_busy_slow_one():
    device = Device({"a": SLOW_S, "x": FAST_S})

    async def scenario() -> None:
        await device.serve(*saturated(device, "a", 30), device.client("x", 30))

    run(scenario())
    own = [batch for batch in device.ran if batch.group == "x"]
    waits = [batch.began - device.arrived[batch.items[0]] for batch in own]
    assert max(waits) <= 2 * SLOW_S + 1e-6
    assert len(own) >= 14


def test_a_client_of_a_fast_model_costs_a_busy_slow_one_at_most_every_other_turn():
    device = Device({"a": SLOW_S, "x": FAST_S})

    async def scenario() -> None:
        await device.serve(*saturated(device, "a", 30), device.client("x", 30))

    run(scenario())
    groups = "".join(batch.group for batch in device.ran if batch.ended <= 30)
    assert "xax" not in groups


def test_a_busy_slow_model_leaves_a_busy_fast_one_half_of_the_device():
    device = Device({"a": SLOW_S, "x": FAST_S})

    async def scenario() -> None:
        await device.serve(*saturated(device, "ax", 60))

    run(scenario())
    busy = device.busy_s(until=60)
    assert abs(busy["a"] - busy["x"]) <= SLOW_S + FAST_S


def test_a_busy_fast_model_leaves_a_busy_slow_one_half_of_the_device():
    device = Device({"x": FAST_S, "a": SLOW_S})

    async def scenario() -> None:
        await device.serve(*saturated(device, "x", 60, clients=64), *saturated(device, "a", 60, clients=2))

    run(scenario())
    assert device.busy_s(until=60)["a"] >= 29 - SLOW_S


def test_a_model_has_the_same_share_whatever_the_number_of_its_shapes():
    device = Device({"a": 0.1, "x": 0.1})

    async def scenario() -> None:
        shapes = [device.client(f"a{shape}", 60) for shape in range(10) for _ in range(2)]
        await device.serve(*shapes, *saturated(device, "x", 60))

    run(scenario())
    busy = device.busy_s(until=60)
    assert abs(busy["a"] - busy["x"]) <= 0.2


def test_a_model_that_was_idle_has_no_credit():
    device = Device({"a": 0.1, "x": 0.1})

    async def late() -> None:
        await asyncio.sleep(100)
        await asyncio.gather(*saturated(device, "x", 120))

    async def scenario() -> None:
        await device.serve(*saturated(device, "a", 120), late())

    run(scenario())
    busy = device.busy_s(since=100.2, until=120)
    assert abs(busy["a"] - busy["x"]) <= 0.2


def test_a_batch_that_waits_for_more_items_lets_other_models_run():
    began: dict[str, float] = {}

    async def device(key: str, items: list[int]) -> list[int]:
        began[key] = now()
        return items

    async def scenario() -> None:
        sizes = {"a": 2, "x": 1}
        batcher = Batcher(device, max_batch=sizes.__getitem__, max_delay_s=5.0, has_upcoming=lambda: True)
        server = asyncio.create_task(batcher.serve())
        await asyncio.gather(batcher.submit("a", 1), batcher.submit("x", 2))
        server.cancel()

    run(scenario())
    assert began == pytest.approx({"x": 0.0, "a": 5.0})


def test_an_idle_group_that_has_used_less_than_the_last_turn_needs_no_memory():
    turns = Turns()
    for group in [*range(100), "last", "last", "last"]:
        turns.join(group)
        assert turns.choose({group: 0.0}) == group
        turns.start(group, waiting=())
        turns.end(group, 5.0)
    assert set(turns.used_s) == {"last"}


# ---------------------------------------------------------------------- any load


@dataclass(frozen=True)
class Request:
    """One request of a load."""

    group: str
    at: float


LOADS = given(
    requests=st.lists(st.builds(Request, st.sampled_from("abc"), st.floats(0, 10)), min_size=1, max_size=60),
    takes_s=st.fixed_dictionaries({group: st.floats(0.01, 3) for group in "abc"}),
)


def play(requests: list[Request], takes_s: dict[str, float]) -> Device:
    """Send a load through a device."""
    device = Device(takes_s)

    async def one(item: int, request: Request) -> None:
        await asyncio.sleep(request.at)
        await device.submit(request.group, item)

    async def scenario() -> None:
        await device.serve(*(one(item, request) for item, request in enumerate(requests)))

    run(scenario())
    return device


@LOADS
@settings(max_examples=150, deadline=None)
def test_a_models_first_request_waits_for_at_most_one_batch_of_each_other_model(requests, takes_s):
    device = play(requests, takes_s)
    for group in {request.group for request in requests}:
        first = next(batch for batch in device.ran if batch.group == group).items[0]
        assert all(count == 1 for count in device.between(device.arrived[first], first).values())


@LOADS
@settings(max_examples=150, deadline=None)
def test_no_model_waits_longer_than_fair_turns_allow(requests, takes_s):
    """Besides the running batch, each other model runs one batch, and as long as this model's last batch took."""
    device = play(requests, takes_s)
    ended: dict[str, float] = {}
    for batch in device.ran:
        waiting_since = max(device.arrived[batch.items[0]], ended.get(batch.group, 0.0))
        others = [takes for group, takes in takes_s.items() if group != batch.group]
        own = takes_s[batch.group] if batch.group in ended else 0.0
        longest = max(others) + sum(takes + own for takes in others)
        assert batch.began - waiting_since <= longest + 1e-6
        ended[batch.group] = batch.ended


@LOADS
@settings(max_examples=150, deadline=None)
def test_the_device_is_never_idle_while_a_request_waits(requests, takes_s):
    device = play(requests, takes_s)
    free = 0.0
    for batch in device.ran:
        waiting = min(
            device.arrived[item] for later in device.ran if later.began >= batch.began for item in later.items
        )
        assert batch.began == pytest.approx(max(free, waiting))
        free = batch.ended
