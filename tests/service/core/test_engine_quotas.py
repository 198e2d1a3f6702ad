"""The engine gives each client its share, whoever the clients are."""

import asyncio

import pytest

from service.access import quotas
from service.errors import TooLarge
from tests.service.core.engines import png, predict, refusal, until
from twins.images import decode


async def test_the_engine_refuses_a_client_and_serves_another(make, pool):
    engine = make(client_in_flight=1, api_keys=("a:one", "b:two"))
    pool.gate.clear()
    first = asyncio.create_task(predict(engine, png(), key="one"))
    await until(lambda: engine.admission.in_flight == 1)
    refused = await refusal(engine, png(), key="one")
    assert (refused.code, refused.retry_after_s) == ("quota_exceeded", 1)
    second = asyncio.create_task(predict(engine, png(), key="two"))
    await until(lambda: engine.admission.in_flight == 2)
    pool.gate.set()
    assert len(await first) == len(await second) == 1


async def test_a_client_cannot_send_more_by_hanging_up_while_its_image_is_decoded(make, gate, monkeypatch):
    engine, open_image = make(client_in_flight=1, decode_threads=1), decode.open_image
    entered = []

    def block(*arguments, **options):
        entered.append(True)
        assert gate.wait(10)
        return open_image(*arguments, **options)

    monkeypatch.setattr(decode, "open_image", block)
    call = asyncio.create_task(predict(engine, png()))
    await until(lambda: entered)
    call.cancel()
    await asyncio.wait({call})
    assert (await refusal(engine, png())).code == "quota_exceeded"
    gate.set()
    await engine.pipeline.decode_stages.small.run(gate.wait)  # once the thread is free
    await predict(engine, png())


async def test_the_images_of_a_refused_call_are_not_held_during_the_pause(make, monkeypatch):
    monkeypatch.setattr(quotas, "PAUSE_S", 3600)
    engine = make(client_images_per_s=0.01)
    await predict(engine, png())
    async with asyncio.timeout(10):
        assert (await refusal(engine, png())).code == "quota_exceeded"


async def test_a_call_with_more_images_than_a_client_may_have_is_refused_for_good(make):
    assert type(await refusal(make(client_in_flight=2), *[png()] * 3)) is TooLarge


async def test_images_that_a_full_queue_refuses_do_not_count(make, pool):
    engine = make(max_queue=1, client_images_per_s=2)
    pool.gate.clear()
    first = asyncio.create_task(predict(engine, png()))
    await until(lambda: engine.admission.in_flight == 1)
    assert (await refusal(engine, png())).code == "overloaded"
    pool.gate.set()
    await first
    await predict(engine, png())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
async def test_without_keys_a_client_is_its_address(make, one, other, same):
    engine = make(client_images_per_s=0.01)
    await predict(engine, png(), address=one)
    if same:
        assert (await refusal(engine, png(), address=other)).code == "quota_exceeded"
    else:
        await predict(engine, png(), address=other)
