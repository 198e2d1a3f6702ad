"""A load: clients in a thread of their own, while the scenario causes its fault."""

import asyncio
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.server import wait_until
from tests.soak.clients import CLIENTS, LOST, OK, PATIENT, Address, Ask, Client
from tests.soak.images import SMALL
from tests.soak.scenario import Report


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request. Times are those of the monotonic clock."""

    sent_s: float
    ended_s: float
    code: str

    @property
    def took_s(self) -> float:
        return self.ended_s - self.sent_s


class Load:
    """Clients that send requests one after another, from the start of a `with` block to its end."""

    def __init__(
        self,
        address: Address,
        *,
        each: int = 2,
        kinds: Iterable[str] = PATIENT,
        asks: Sequence[Ask] = (Ask(SMALL),),
        pause_s: float = 0.0,
    ) -> None:
        self.makers: list[Callable[[Address], Client]] = [CLIENTS[kind] for kind in kinds for _ in range(each)]
        self.address = address
        self.asks = itertools.cycle(asks)
        self.pause_s = pause_s
        self.outcomes: list[Outcome] = []
        self.waiting = 0  # requests without an outcome yet
        self.done = False
        self.thread = threading.Thread(target=lambda: asyncio.run(self.repeat_all()))

    def __enter__(self) -> "Load":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Wait for the outcomes of the requests that were sent."""
        self.done = True
        self.thread.join()

    async def repeat_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for make in self.makers:
                group.create_task(self.repeat(make(self.address)))

    async def repeat(self, client: Client) -> None:
        """Send requests one after another. A client that lost one waits a little, as a client with sense does."""
        try:
            while not self.done:
                outcome = await self.ask(client, next(self.asks))
                await asyncio.sleep(max(self.pause_s, 0.0 if outcome.code == OK else 0.05))
        finally:
            await client.close()

    async def ask(self, client: Client, ask: Ask) -> Outcome:
        began = time.monotonic()
        self.waiting += 1
        code = await client.ask(ask)
        self.waiting -= 1
        outcome = Outcome(began, time.monotonic(), code)
        self.outcomes.append(outcome)
        return outcome

    def go_on(self, seconds: float) -> None:
        """Let the clients send requests for some time."""
        time.sleep(seconds)  # there is no condition to wait for: that time passes is the point

    def wait_for_answers(self, number: int = 50, *, timeout_s: float = 60.0) -> None:
        """Wait until requests that are sent from now on have been answered."""
        now = time.monotonic()
        wait_until(lambda: len(answered(self.outcomes, after=now)) >= number, timeout_s=timeout_s, what="answers")

    def recovery_s(self, fault: float) -> float:
        """Return the time from a fault to the first answer to a request that was sent after it."""
        return min((o.ended_s for o in answered(self.outcomes, after=fault)), default=math.inf) - fault

    def report(self, *, recovery_s: float | None = None, **figures: float) -> Report:
        """Return what the clients saw, once they have stopped."""
        return report(self.outcomes, recovery_s=recovery_s, figures=figures)


def report(
    outcomes: Sequence[Outcome], *, recovery_s: float | None = None, figures: Mapping[str, float] | None = None
) -> Report:
    """Return what the outcomes of requests come to."""
    done, gone = len(answered(outcomes)), len(lost(outcomes))
    return Report(
        sent=len(outcomes),
        answered=done,
        refused=len(outcomes) - done - gone,
        lost=gone,
        slowest_s=max((outcome.took_s for outcome in answered(outcomes)), default=0.0),
        recovery_s=recovery_s,
        figures=figures or {},
    )


def answered(outcomes: Iterable[Outcome], *, after: float = 0.0) -> list[Outcome]:
    """Return the outcomes of the requests that were sent after a time and answered."""
    return [outcome for outcome in list(outcomes) if outcome.code == OK and outcome.sent_s >= after]


def lost(outcomes: Iterable[Outcome], *, after: float = 0.0) -> list[Outcome]:
    """Return the outcomes of the requests that were sent after a time and lost."""
    return [outcome for outcome in list(outcomes) if outcome.code.startswith(LOST) and outcome.sent_s >= after]


def codes(outcomes: Iterable[Outcome]) -> Counter[str]:
    """Return how often each outcome occurred."""
    return Counter(outcome.code for outcome in outcomes)


def p99_s(outcomes: Sequence[Outcome]) -> float:
    """Return the time within which 99 in 100 requests were answered."""
    took = sorted(outcome.took_s for outcome in outcomes)
    return took[min(len(took) - 1, math.ceil(0.99 * len(took)) - 1)] if took else math.nan
