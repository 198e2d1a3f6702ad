"""The simulated queue forms the batches of `service.core.batcher`, on the same arrivals and with the same durations."""

import asyncio

import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulation.queues import Image, Queue
from service.core.batcher import Batcher
from tests.clock import now, run

MAX_BATCH = 3
Arrival = tuple[float, int]  # the time, and the model
Ran = list[tuple[float, int, int]]  # when each batch began, its model and its size


def took_s(size: int) -> float:
    return 0.25 + 0.125 * size


def real(arrivals: list[Arrival]) -> Ran:
    ran: Ran = []

    async def execute(model: int, items: list[int]) -> list[int]:
        ran.append((now(), model, len(items)))
        await asyncio.sleep(took_s(len(items)))
        return items

    async def main() -> None:
        batcher = Batcher(execute, max_batch=MAX_BATCH)
        serving = asyncio.create_task(batcher.serve())
        waiting = []
        for at, model in arrivals:
            await asyncio.sleep(at - now())
            waiting.append(batcher.submit(model, 0))
        await asyncio.gather(*waiting)
        serving.cancel()

    run(main())
    return ran


def simulated(arrivals: list[Arrival]) -> Ran:
    ran: Ran = []
    env, queue = simpy.Environment(), Queue(models=2, max_batch=MAX_BATCH)

    def worker():
        while True:
            if not queue:
                woken = env.event()
                queue.idle.append(woken)
                yield woken
            batch, _ = queue.take(env.now)
            ran.append((env.now, batch[0].model, len(batch)))
            yield env.timeout(took_s(len(batch)))
            queue.ended(batch[0].model, took_s(len(batch)))

    def frontend():
        for at, model in arrivals:
            yield env.timeout(at - env.now)
            queue.add(Image(model, 0, env.now))

    env.process(worker())
    env.process(frontend())
    env.run()
    return ran


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 1)), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_batches_are_those_of_the_service(found):
    # exact in binary, and no image arrives just when a batch ends
    arrivals = sorted((eighths / 8 + (index + 1) / 1024, model) for index, (eighths, model) in enumerate(found))
    assert simulated(arrivals) == real(arrivals)


def test_an_expired_image_never_reaches_the_device():
    queue = Queue(models=1, max_batch=4)
    queue.add(Image(0, 0, sent=0.0, expires=1.0))
    queue.add(Image(0, 0, sent=0.0, expires=3.0))
    batch, expired = queue.take(2.0)
    assert [image.expires for image in batch] == [3.0]
    assert [image.expires for image in expired] == [1.0]
