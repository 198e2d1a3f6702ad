"""The engine over a fake pool: answers, errors, deadlines, models, keys and readiness."""

import asyncio

import pytest
from structlog.testing import capture_logs

from service import errors
from service.core.call import Answer, Call
from tests.service.core.engines import best, caller, png, predict, refusal, upside_down
from twins.images import decode as images
from twins.tasks.classify import ClassifyOptions

# ---------------------------------------------------------------------- answers and errors


async def test_answers_come_in_the_order_of_the_images(engine):
    answers = await predict(engine, png(255), png(0), png(255))
    assert [answer.result.predictions[0].label for answer in answers] == ["light", "dark", "light"]


async def test_a_bad_image_has_its_own_error(engine):
    _, bad, _ = await predict(engine, png(), b"no image", png())
    assert isinstance(bad, errors.UnsupportedMedia)


async def test_a_bad_image_leaves_its_neighbours_their_answers(engine):
    first, _, last = await predict(engine, png(255), b"no image", png(0))
    assert [answer.result.predictions[0].label for answer in (first, last)] == ["light", "dark"]


async def test_a_bad_image_never_reaches_a_worker(engine, pool):
    await predict(engine, b"no image")
    assert pool.asked == []


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", errors.UnsupportedMedia),
        (b"%PDF-1.7", errors.UnsupportedMedia),
        (png()[:50], errors.UnreadableImage),
        (png() + bytes(2000), errors.TooLarge),
    ],
    ids=["empty", "pdf", "truncated", "too large"],
)
async def test_a_bad_image_gets_the_error_of_its_kind(make, data, kind):
    (refusal,) = await predict(make(max_image_bytes=1000), data)
    assert type(refusal) is kind


async def test_one_image_alone_raises_its_error(engine):
    with pytest.raises(errors.UnsupportedMedia), engine.call(caller(), "infer") as outcome:
        await engine.predict_one(Call("classify", (b"no image",), ClassifyOptions()), outcome)


async def test_an_error_of_a_worker_is_the_error_of_its_image(engine, pool):
    pool.fault = errors.Internal("the model failed on this image")
    assert await predict(engine, png()) == [pool.fault]


async def test_the_number_of_classes_is_top_k(engine):
    (answer,) = await predict(engine, png(), top_k=1)
    assert len(answer.result.predictions) == 1


async def test_an_answer_has_the_time_of_each_stage(engine):
    (answer,) = await predict(engine, png())
    assert (answer.timing.queue, answer.timing.infer) == (0.1, 0.4)


# ---------------------------------------------------------------------- refusals of the whole call


async def test_no_image_is_a_bad_request(engine):
    assert type(await refusal(engine)) is errors.BadRequest


async def test_too_many_images_are_too_large(make):
    assert type(await refusal(make(max_images=2), *[png()] * 3)) is errors.TooLarge


async def test_an_unknown_model_is_rejected_with_the_served_models(engine):
    refused = await refusal(engine, png(), model="third")
    assert (type(refused), "first, second" in refused.detail) == (errors.UnknownModel, True)


async def test_no_call_is_accepted_before_the_models_are_known(engine, pool):
    pool.cards.clear()
    assert type(await refusal(engine, png())) is errors.Unavailable


async def test_no_call_is_accepted_without_a_worker(engine, pool):
    pool.ready = 0
    assert type(await refusal(engine, png())) is errors.Unavailable


async def test_a_full_queue_rejects_the_whole_call(make, pool):
    engine = make(max_queue=2)
    pool.gate.clear()
    first = asyncio.create_task(predict(engine, png(), png()))
    await asyncio.sleep(0)
    refused = await refusal(engine, png())
    pool.gate.set()
    await first
    assert type(refused) is errors.Overloaded


async def test_a_call_that_takes_too_long_exceeds_its_deadline(make, pool):
    pool.gate.clear()
    assert type(await refusal(make(request_timeout_s=0.05), png())) is errors.DeadlineExceeded


async def test_a_call_that_took_too_long_is_no_longer_in_flight(make, pool):
    engine = make(request_timeout_s=0.05)
    pool.gate.clear()
    await refusal(engine, png())
    assert engine.admission.in_flight == 0


async def test_an_invalid_deadline_is_a_bad_request(engine):
    assert type(await refusal(engine, png(), timeout_s=float("nan"))) is errors.BadRequest


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("-inf"), 0.0009])
async def test_a_deadline_that_had_passed_before_the_request_is_the_clients_fault(engine, timeout_s):
    assert type(await refusal(engine, png(), timeout_s=timeout_s)) is errors.DeadlineAlreadyPassed


@pytest.mark.parametrize(("asked_s", "granted_s"), [(2.0, 2.0), (60.0, 10.0), (None, 10.0), (float("inf"), 10.0)])
async def test_the_deadline_of_a_client_is_limited_by_the_settings(make, asked_s, granted_s):
    asker = caller(asked_s)
    with make(request_timeout_s=10).call(asker, "infer") as outcome:
        assert outcome.deadline == asker.arrived + granted_s


async def test_a_worker_gets_the_deadline_of_the_call(make, pool):
    engine = make(request_timeout_s=10)
    asker = caller()
    with engine.call(asker, "infer") as outcome:
        await engine.predict(Call("classify", (png(),), ClassifyOptions()), outcome)
    assert pool.asked[0][1] == asker.arrived + 10


async def test_an_unexpected_error_is_never_shown(engine, pool):
    pool.fault = RuntimeError("/etc/secret")
    (error,) = await predict(engine, png())
    assert (type(error), "secret" in error.detail) == (errors.Internal, False)


async def test_an_unexpected_error_is_logged_with_its_cause_and_the_request_id(engine, pool):
    pool.fault = RuntimeError("out of luck")
    with capture_logs() as lines:
        await predict(engine, png())
    assert [line["exc_info"] for line in lines if line.get("request_id") == "id-1" and "exc_info" in line] == [
        pool.fault
    ]


async def test_an_image_that_fails_unforeseen_is_not_in_flight_any_more(engine, pool):
    pool.fault = RuntimeError("out of luck")
    await predict(engine, png())
    assert engine.admission.in_flight == 0


@pytest.mark.parametrize("fault", [MemoryError(), AttributeError("a decoder's bug")], ids=["memory", "decoder"])
async def test_an_image_that_breaks_the_decoder_leaves_the_other_images_their_answers(engine, monkeypatch, fault):
    open_image, broken = images.open_image, png(7)

    def break_on_one(data, *arguments, **options):
        if data == broken:
            raise fault
        return open_image(data, *arguments, **options)

    monkeypatch.setattr(images, "open_image", break_on_one)
    first, error, last = await predict(engine, png(255), broken, png(0))
    assert type(error) is errors.Internal
    assert [answer.result.predictions[0].label for answer in (first, last)] == ["light", "dark"]


# ---------------------------------------------------------------------- deadlines of several images


async def test_images_that_are_ready_at_the_deadline_are_returned_with_errors_for_the_others(make, pool):
    pool.held = 1
    answers = await predict(make(request_timeout_s=0.5), png(), png())
    assert {type(answer) for answer in answers} == {Answer, errors.DeadlineExceeded}


async def test_the_job_of_an_image_that_is_late_is_abandoned(make, pool):
    pool.held = 1
    await predict(make(request_timeout_s=0.5), png(), png())
    assert pool.abandoned == 1


async def test_a_call_of_which_no_image_is_ready_at_the_deadline_fails_as_a_whole(make, pool):
    pool.held = 2
    assert type(await refusal(make(request_timeout_s=0.1), png(), png())) is errors.DeadlineExceeded


async def test_a_bad_image_is_reported_even_if_all_others_are_late(make, pool):
    pool.held = 1
    bad, late = await predict(make(request_timeout_s=0.5), b"no image", png())
    assert (type(bad), type(late)) == (errors.UnsupportedMedia, errors.DeadlineExceeded)


# ---------------------------------------------------------------------- models and their settings


async def test_the_first_model_is_the_default(engine, pool):
    await predict(engine, png())
    assert pool.asked[0][0] == "first"


async def test_a_model_is_chosen_by_name(engine, pool):
    await predict(engine, png(), model="second")
    assert pool.asked[0][0] == "second"


@pytest.mark.parametrize(
    ("setting", "model", "label"),
    [
        ("model", "first", "dark"),
        ("model", "second", "light"),
        ("always", "second", "dark"),
        ("never", "first", "light"),
    ],
)
async def test_images_are_rotated_according_to_the_setting(make, setting, model, label):
    assert await best(make(exif=setting), upside_down(), model) == label


# ---------------------------------------------------------------------- keys


@pytest.mark.parametrize("key", ["one", "two"])
async def test_any_of_the_keys_is_accepted(make, key):
    make(api_keys=("one", "two")).keys.identify(key)


@pytest.mark.parametrize("key", [None, "", "three", "on", "one ", "óne"])
async def test_another_key_is_rejected(make, key):
    with pytest.raises(errors.Unauthenticated):
        make(api_keys=("one", "two")).keys.identify(key)


async def test_without_keys_every_call_is_accepted(make):
    assert make().keys.identify(None) is None


# ---------------------------------------------------------------------- life


async def test_with_a_worker_it_is_ready(engine):
    assert engine.ready


async def test_without_a_worker_it_is_not_ready(engine, pool):
    pool.ready = 0
    assert not engine.ready


async def test_once_stopping_it_is_not_ready_but_serves(engine):
    engine.start_draining()
    assert (engine.ready, await best(engine, png())) == (False, "light")


async def test_a_change_in_the_pool_is_reported_as_readiness(engine, pool):
    reported: list[bool] = []
    engine.on_ready_change.append(reported.append)
    pool.ready = 0
    for notify in pool.on_change:
        notify()
    assert reported == [False]


async def test_the_end_of_readiness_is_reported(engine):
    reported: list[bool] = []
    engine.on_ready_change.append(reported.append)
    engine.start_draining()
    assert reported == [False]
