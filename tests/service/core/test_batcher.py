"""The batcher on a fake clock: what shares a batch, in what order batches run, and what never reaches the device."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.batcher import Batcher
from service.errors import DeadlineExceeded
from tests.clock import now, run

RUN_S = 1.0  # what a batch takes


@dataclass
class Device:
    """Takes a second per batch, and records the batches and when they began."""

    batches: list[tuple[str, list[int]]] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    fault: Exception | None = None

    async def run(self, key: str, items: list[int]) -> list[str]:
        """Return `item 3` for 3."""
        self.batches.append((key, items))
        self.begun.append(now())
        await asyncio.sleep(RUN_S)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return [f"item {item}" for item in items]


@pytest.fixture
def device():
    return Device()


@asynccontextmanager
async def serving(device, *, in_flight=1, max_batch=4, **options):
    """Yield a function that submits an item to a batcher, now or later."""
    batcher = Batcher(device.run, max_batch=max_batch, **options)
    server = asyncio.create_task(batcher.serve(in_flight=in_flight))

    def submit(
        item: int, *, key: str = "a", after_s: float = 0.0, expires: float = float("inf"), priority: int = 2
    ) -> asyncio.Task:
        async def call() -> str:
            await asyncio.sleep(after_s)
            return await batcher.submit(key, item, expires=expires, priority=priority)

        return asyncio.create_task(call())

    try:
        yield submit
    finally:
        server.cancel()


def test_what_piles_up_while_the_device_is_busy_is_the_next_batch(device):
    async def scenario():
        async with serving(device) as submit:
            await asyncio.gather(submit(1), *(submit(item, after_s=0.1 * item) for item in (2, 3, 4)))

    run(scenario())
    assert device.batches == [("a", [1]), ("a", [2, 3, 4])]


def test_an_item_of_a_higher_priority_overtakes_those_that_wait(device):
    async def scenario():
        async with serving(device, max_batch=2) as submit:
            waiting = [submit(item, after_s=0.1 * item) for item in (2, 3, 4)]
            late = [
                submit(5, after_s=0.5, priority=3),
                submit(6, after_s=0.6, priority=1),
                submit(7, after_s=0.7, priority=1),
            ]
            await asyncio.gather(submit(1), *waiting, *late)

    run(scenario())
    assert [batch for _, batch in device.batches] == [[1], [6, 7], [2, 3], [4, 5]]


def test_a_higher_priority_overtakes_also_under_another_key_of_its_group(device):
    async def scenario():
        async with serving(device, group=lambda key: key[0]) as submit:
            await asyncio.gather(
                submit(1, key="a1"),
                submit(2, key="a1", after_s=0.1),
                submit(3, key="a2", after_s=0.2),
                submit(4, key="a3", after_s=0.3, priority=1),
            )

    run(scenario())
    assert device.batches == [("a1", [1]), ("a3", [4]), ("a1", [2]), ("a2", [3])]


def test_groups_take_turns_whatever_their_priorities(device):
    async def scenario():
        async with serving(device, max_batch=1) as submit:
            urgent = [submit(item, key="b", after_s=0.2, priority=1) for item in (3, 4)]
            await asyncio.gather(submit(1, key="a"), submit(2, key="c", after_s=0.1), *urgent)

    run(scenario())
    assert device.batches == [("a", [1]), ("c", [2]), ("b", [3]), ("b", [4])]


def test_the_device_never_waits_without_a_delay(device):
    async def scenario():
        async with serving(device, has_upcoming=lambda: True) as submit:
            await asyncio.gather(submit(1, after_s=0.5), submit(2, after_s=0.6))

    run(scenario())
    assert device.begun == pytest.approx([0.5, 1.5])


def test_the_delay_counts_from_the_arrival_of_the_oldest_item(device):
    async def scenario():
        async with serving(device, max_delay_s=0.3, has_upcoming=lambda: True) as submit:
            await asyncio.gather(submit(1, after_s=2.0), submit(2, after_s=2.2))

    run(scenario())
    assert device.begun == pytest.approx([2.3])


def test_a_delay_that_passed_while_the_device_was_busy_is_over(device):
    async def scenario():
        async with serving(device, max_batch=1, max_delay_s=0.3, has_upcoming=lambda: True) as submit:
            first = submit(1)
            async with asyncio.timeout(30):
                await asyncio.gather(first, submit(2, after_s=0.1))

    run(scenario())
    assert device.begun == pytest.approx([0.0, 1.0])


def test_an_idle_device_does_not_wait_where_nothing_is_coming(device):
    async def scenario():
        async with serving(device, max_delay_s=0.3, has_upcoming=lambda: False) as submit:
            await submit(1, after_s=2.0)

    run(scenario())
    assert device.begun == pytest.approx([2.0])


def test_the_wait_ends_with_the_last_item_that_was_coming(device):
    upcoming = [True]

    async def scenario():
        async with serving(device, max_delay_s=0.3, has_upcoming=lambda: bool(upcoming)) as submit:
            first = submit(1)
            await asyncio.sleep(0.1)
            upcoming.clear()
            await asyncio.gather(first, submit(2))

    run(scenario())
    assert (device.begun, device.batches) == (pytest.approx([0.1]), [("a", [1, 2])])


def test_the_items_that_wait_are_counted_by_group():
    async def scenario():
        batcher = Batcher(lambda _, items: asyncio.sleep(0, items), max_batch=4, group=lambda key: key[0])
        calls = [batcher.submit(key, 1) for key in ("a1", "a2", "b1")]
        await asyncio.sleep(0)
        waiting = batcher.waiting()
        for call in calls:
            call.cancel()
        return waiting

    assert run(scenario()) == {"a": 2, "b": 1}


def test_a_full_batch_does_not_wait(device):
    async def scenario():
        async with serving(device, max_batch=2, max_delay_s=0.3, has_upcoming=lambda: True) as submit:
            await asyncio.gather(submit(1), submit(2, after_s=0.1))

    run(scenario())
    assert device.begun == pytest.approx([0.1])


def test_unequal_keys_never_share_a_batch(device):
    async def scenario():
        async with serving(device) as submit:
            await asyncio.gather(submit(0), *(submit(i, key="ab"[i % 2], after_s=0.1 * i) for i in range(1, 5)))

    run(scenario())
    assert sorted(device.batches) == [("a", [0]), ("a", [2, 4]), ("b", [1, 3])]


def test_the_key_whose_first_item_waited_longest_goes_first(device):
    async def scenario():
        async with serving(device) as submit:
            await asyncio.gather(
                submit(1, key="a"),
                submit(2, key="c", after_s=0.1),
                submit(3, key="b", after_s=0.2),
                submit(4, key="b", after_s=0.3),
                submit(5, key="c", after_s=0.4),
            )

    run(scenario())
    assert device.batches == [("a", [1]), ("c", [2, 5]), ("b", [3, 4])]


def test_an_abandoned_sample_never_reaches_the_device(device):
    async def scenario():
        async with serving(device) as submit:
            first, second, third = submit(1), submit(2, after_s=0.1), submit(3, after_s=0.2)
            await asyncio.sleep(0.5)
            second.cancel()
            await asyncio.gather(first, third)

    run(scenario())
    assert device.batches == [("a", [1]), ("a", [3])]


def test_a_sample_abandoned_on_the_device_leaves_its_neighbours_their_answers(device):
    async def scenario():
        async with serving(device) as submit:
            first, second = submit(1), submit(2)
            await asyncio.sleep(0.5)
            first.cancel()
            return await second

    assert run(scenario()) == "item 2"


def test_an_expired_sample_never_reaches_the_device(device):
    async def scenario():
        async with serving(device) as submit:
            await asyncio.gather(submit(1), submit(2, after_s=0.1, expires=0.9), return_exceptions=True)

    run(scenario())
    assert device.batches == [("a", [1])]


def test_an_expired_sample_is_answered_with_its_deadline(device):
    async def scenario():
        async with serving(device) as submit:
            await asyncio.gather(submit(1), submit(2, after_s=0.1, expires=0.9))

    with pytest.raises(DeadlineExceeded):
        run(scenario())


def test_an_expired_sample_does_not_count_for_the_size_of_a_batch(device):
    async def scenario():
        async with serving(device, max_batch=2) as submit:
            calls = [submit(1), submit(2, after_s=0.1, expires=0.9), *(submit(i, after_s=0.1 * i) for i in (3, 4))]
            await asyncio.gather(*calls, return_exceptions=True)

    run(scenario())
    assert device.batches[1:] == [("a", [3, 4])]


def test_an_error_reaches_every_item_of_its_batch(device):
    device.fault = RuntimeError("the device is on fire")

    async def scenario():
        async with serving(device) as submit:
            return await asyncio.gather(submit(1), submit(2), return_exceptions=True)

    assert [str(answer) for answer in run(scenario())] == ["the device is on fire"] * 2


def test_an_error_does_not_reach_the_next_batch(device):
    device.fault = RuntimeError("the device is on fire")

    async def scenario():
        async with serving(device) as submit:
            return await asyncio.gather(submit(1), submit(2, after_s=0.5), return_exceptions=True)

    assert run(scenario())[1] == "item 2"


def test_a_wrong_number_of_results_is_an_error_of_the_whole_batch():
    async def forgetful(_: str, items: list[int]) -> list[int]:
        return items[1:]

    async def scenario():
        batcher = Batcher(forgetful, max_batch=4)
        server = asyncio.create_task(batcher.serve())
        answers = await asyncio.gather(batcher.submit("a", 1), batcher.submit("a", 2), return_exceptions=True)
        server.cancel()
        return answers

    assert [type(answer) for answer in run(scenario())] == [AssertionError] * 2


def test_depth_counts_what_waits_under_all_keys(device):
    async def scenario():
        batcher = Batcher(device.run, max_batch=4)
        calls = [batcher.submit(key, 1) for key in "aab"]
        await asyncio.sleep(0)
        depth = batcher.depth
        for call in calls:
            call.cancel()
        return depth

    assert run(scenario()) == 3


# ---------------------------------------------------------------------- any load


@dataclass(frozen=True)
class Arrival:
    """One item of a load."""

    at: float
    key: str
    patience: float | None  # seconds until its caller gives up; None: never
    lifetime: float  # seconds until it expires


ARRIVALS = st.builds(
    Arrival,
    at=st.floats(0, 10),
    key=st.sampled_from("abc"),
    patience=st.none() | st.floats(0, 5),
    lifetime=st.floats(0.1, 20),
)


@dataclass
class Played:
    """The batches and answers of a load."""

    batches: list[tuple[str, list[int]]] = field(default_factory=list)
    began: dict[int, float] = field(default_factory=dict)
    answers: dict[int, object] = field(default_factory=dict)


def play(arrivals, durations, max_batch, max_delay_s) -> Played:
    """Send a load through a batcher; the result of item 3 is `(3, key)`."""
    played, remaining = Played(), iter(durations)

    async def device(key: str, items: list[int]) -> list[tuple[int, str]]:
        played.batches.append((key, items))
        played.began.update(dict.fromkeys(items, now()))
        await asyncio.sleep(next(remaining, 0.0))
        return [(item, key) for item in items]

    async def scenario() -> None:
        batcher = Batcher(device, max_batch=max_batch, max_delay_s=max_delay_s, has_upcoming=lambda: True)
        server = asyncio.create_task(batcher.serve())

        async def call(index: int, arrival: Arrival) -> None:
            await asyncio.sleep(arrival.at)
            try:
                async with asyncio.timeout(arrival.patience):
                    played.answers[index] = await batcher.submit(
                        arrival.key, index, expires=arrival.at + arrival.lifetime
                    )
            except (TimeoutError, DeadlineExceeded) as error:
                played.answers[index] = type(error)

        await asyncio.gather(*(call(index, arrival) for index, arrival in enumerate(arrivals)))
        server.cancel()

    run(scenario())
    return played


patterns = given(
    arrivals=st.lists(ARRIVALS, max_size=25),
    durations=st.lists(st.floats(0, 3), max_size=25),
    max_batch=st.integers(1, 8),
    max_delay_s=st.sampled_from([0.0, 0.5, 2.0]),
)


@patterns
@settings(max_examples=150, deadline=None)
def test_every_item_gets_its_own_result_or_its_own_refusal(arrivals, durations, max_batch, max_delay_s):
    played = play(arrivals, durations, max_batch, max_delay_s)
    refusals = (TimeoutError, DeadlineExceeded)
    for index, arrival in enumerate(arrivals):
        assert played.answers[index] == (index, arrival.key) or played.answers[index] in refusals


@patterns
@settings(max_examples=150, deadline=None)
def test_every_item_without_a_deadline_is_answered(arrivals, durations, max_batch, max_delay_s):
    patient = [Arrival(arrival.at, arrival.key, None, float("inf")) for arrival in arrivals]
    played = play(patient, durations, max_batch, max_delay_s)
    assert played.answers == {index: (index, arrival.key) for index, arrival in enumerate(arrivals)}


@patterns
@settings(max_examples=150, deadline=None)
def test_no_batch_is_empty_too_large_or_mixed(arrivals, durations, max_batch, max_delay_s):
    played = play(arrivals, durations, max_batch, max_delay_s)
    for key, items in played.batches:
        assert 0 < len(items) <= max_batch
        assert {arrivals[item].key for item in items} == {key}


@patterns
@settings(max_examples=150, deadline=None)
def test_no_item_runs_twice_or_after_its_deadline(arrivals, durations, max_batch, max_delay_s):
    played = play(arrivals, durations, max_batch, max_delay_s)
    ran = [item for _, items in played.batches for item in items]
    assert len(ran) == len(set(ran))
    assert all(played.began[item] < arrivals[item].at + arrivals[item].lifetime for item in ran)


@patterns
@settings(max_examples=150, deadline=None)
def test_within_a_key_items_run_in_the_order_of_their_arrival(arrivals, durations, max_batch, max_delay_s):
    played = play(arrivals, durations, max_batch, max_delay_s)
    for key in "abc":
        order = [arrivals[item].at for batch_key, items in played.batches if batch_key == key for item in items]
        assert all(earlier <= later for earlier, later in pairwise(order))
