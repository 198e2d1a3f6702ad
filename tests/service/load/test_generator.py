"""The generator against targets without a network."""

import asyncio

from service.load.generator import Generator
from service.load.report import requests_after, summarise
from service.load.schedule import Closed, Open
from service.load.target import SUCCEEDED


class Stalling:
    """A target that answers at once, except that it stands still once from `at` on, for `stall_s`."""

    def __init__(self, *, at: int, stall_s: float) -> None:
        self.at, self.stall_s, self.sent, self.free = at, stall_s, 0, asyncio.Event()
        self.free.set()

    async def send(self, image: bytes) -> str:
        self.sent += 1
        if self.sent == self.at:
            self.free.clear()
            asyncio.get_running_loop().call_later(self.stall_s, self.free.set)
        await self.free.wait()
        return SUCCEEDED

    async def close(self) -> None:
        """Nothing is open."""


class Recording:
    """A target that keeps the images and how many were in flight."""

    def __init__(self, answer: str = SUCCEEDED) -> None:
        self.images: list[bytes] = []
        self.answer, self.in_flight, self.most = answer, 0, 0

    async def send(self, image: bytes) -> str:
        self.images.append(image)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(0.005)
        self.in_flight -= 1
        return self.answer

    async def close(self) -> None:
        """Nothing is open."""


async def run(target, schedule, seconds=0.5, images=(b"image",)) -> Generator:
    generator = Generator(target, images)
    await generator.run(schedule, seconds=seconds)
    return generator


async def test_in_an_open_loop_a_stall_makes_every_request_late_that_was_due_meanwhile():
    generator = await run(Stalling(at=20, stall_s=0.25), Open(rate=200.0))
    slow = [each for each in generator.recorder.latency if each > 0.05]
    assert len(slow) > 20  # about 40 were due in the 0.2 s before the last 0.05 s of the stall
    assert max(slow) > 0.2


async def test_in_a_closed_loop_a_stall_is_seen_once_by_each_client():
    generator = await run(Stalling(at=20, stall_s=0.25), Closed(3), seconds=0.3)
    assert len([each for each in generator.recorder.latency if each > 0.05]) <= 3


async def test_a_closed_loop_has_as_many_requests_in_flight_as_clients():
    target = Recording()
    await run(target, Closed(4), seconds=0.1)
    assert target.most == 4


async def test_an_open_loop_waits_for_no_answer():
    target = Recording()
    await run(target, Open(rate=2000.0), seconds=0.1)
    assert target.most > 4


async def test_images_are_sent_in_turn():
    target = Recording()
    await run(target, Closed(1), seconds=0.1, images=(b"a", b"b", b"c"))
    assert target.images[:4] == [b"a", b"b", b"c", b"a"]


async def test_the_warm_up_is_not_in_the_report():
    generator = await run(Recording(), Closed(1), seconds=0.3)
    found = requests_after(generator.recorder, 0.2)
    assert 0 < len(found.due_s) < len(generator.recorder)
    assert found.due_s.min() >= 0


async def test_errors_are_counted_by_code_and_have_no_latency():
    generator = await run(Recording("overloaded"), Closed(2), seconds=0.1)
    report = summarise(
        requests_after(generator.recorder, 0.0), url="http://host/classify", schedule="", seconds=0.1, cpu_s=0.0
    )
    assert report.errors == {"overloaded": report.requests}
    assert (report.succeeded, report.throughput, report.latency_ms) == (0, 0.0, {})


async def test_answers_after_the_end_are_no_throughput():
    generator = await run(Stalling(at=1, stall_s=0.4), Open(rate=100.0), seconds=0.2)
    report = summarise(requests_after(generator.recorder, 0.0), url="", schedule="", seconds=0.2, cpu_s=0.0)
    assert report.succeeded == report.requests > 0
    assert report.throughput == 0


async def test_a_run_that_is_stopped_keeps_what_it_has():
    generator = Generator(Recording(), [b"image"])
    asyncio.get_running_loop().call_later(0.1, generator.stop)
    await generator.run(Closed(2), seconds=60)
    assert len(generator.recorder) > 0
    assert generator.elapsed_s < 30
