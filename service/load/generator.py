"""Runs a schedule against a target.

The latency of a request counts from the time at which it was due. In an open loop, requests that wait behind a service
that has stalled are therefore as slow in the report as they are for users (no co-ordinated omission).
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence

from service.load.recorder import Recorder
from service.load.schedule import Closed, Open, Schedule
from service.load.target import Target


class Generator:
    """Sends images to a target, in turn, and records the answers."""

    def __init__(
        self, target: Target, images: Sequence[bytes], *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.target, self.images, self.clock = target, itertools.cycle(images), clock
        self.recorder = Recorder()
        self.in_flight = 0
        self.stopping = asyncio.Event()
        self.began = 0.0

    async def run(self, schedule: Schedule, *, seconds: float) -> None:
        """Send requests for that time or until `stop`, and wait for their answers."""
        self.began = self.clock()
        sending = asyncio.create_task(self.send_all(schedule, seconds))
        stopped = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait([sending, stopped], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, stopped):
                task.cancel()
            await asyncio.gather(sending, stopped, return_exceptions=True)

    def stop(self) -> None:
        """Stop sending. Requests in flight are abandoned and not recorded."""
        self.stopping.set()

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return self.clock() - self.began

    async def send_all(self, schedule: Schedule, seconds: float) -> None:
        """Send the requests of a schedule, and wait for their answers."""
        async with asyncio.TaskGroup() as tasks:
            if isinstance(schedule, Closed):
                for _ in range(schedule.clients):
                    tasks.create_task(self.client(seconds))
            else:
                await self.arrivals(schedule, seconds, tasks)

    async def client(self, seconds: float) -> None:
        """Send one request after another."""
        while (due := self.elapsed_s) < seconds:
            await self.request(due)

    async def arrivals(self, schedule: Open, seconds: float, tasks: asyncio.TaskGroup) -> None:
        """Send each request when it is due, without waiting for earlier ones."""
        for due in itertools.takewhile(lambda due: due < seconds, schedule.due_times()):
            await asyncio.sleep(due - self.elapsed_s)
            tasks.create_task(self.request(due))

    async def request(self, due_s: float) -> None:
        """Send one image, and record the answer."""
        sent = self.elapsed_s
        self.in_flight += 1
        try:
            code = await self.target.send(next(self.images))
        finally:
            self.in_flight -= 1
        self.recorder.add(due_s=due_s, sent_s=sent, ended_s=self.elapsed_s, code=code)
