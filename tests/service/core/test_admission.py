"""Tests which calls admission rejects, and how long clients should wait then."""

import asyncio

import pytest

from service.core.admission import LONGEST_RETRY_S, REMOTE_QUEUE_S, Admission, MeanTime
from service.errors import DeadlineExceeded, Overloaded
from tests.clock import now, run

NEVER = float("inf")


@pytest.fixture
def admission():
    return Admission(max_queue=8)


def with_measurement(admission: Admission, per_image_s: float) -> Admission:
    """Return the admission after a measurement."""
    admission.device_times[""].record(per_image_s * 4, images=4)
    return admission


def attempt(admission: Admission, images: int, *, waiting: int = 0, left_s: float = NEVER, workers: int = 1) -> None:
    """Ask for admission while this many images wait."""
    admission.count("", waiting)

    async def scenario() -> None:
        with admission.admitted(images, deadline=now() + left_s, workers=workers):
            pass

    run(scenario())


def refusal(admission: Admission, images: int, **circumstances: float) -> Exception:
    """Return the error of a rejected call."""
    with pytest.raises((Overloaded, DeadlineExceeded)) as caught:
        attempt(admission, images, **circumstances)
    return caught.value


def test_the_queue_accepts_images_up_to_its_length(admission):
    attempt(admission, 3, waiting=5)


def test_a_full_queue_rejects_calls(admission):
    assert isinstance(refusal(admission, 1, waiting=8), Overloaded)


def test_a_call_whose_images_do_not_all_fit_is_rejected_as_a_whole(admission):
    assert isinstance(refusal(admission, 4, waiting=5), Overloaded)


def test_images_count_while_they_are_in_flight(admission):
    async def scenario():
        with admission.admitted(3, deadline=NEVER, workers=1):
            return admission.in_flight

    assert run(scenario()) == 3


def test_the_count_returns_to_zero(admission):
    attempt(admission, 3)
    assert admission.in_flight == 0


def test_the_count_returns_to_zero_after_an_error(admission):
    async def scenario():
        with admission.admitted(3, deadline=NEVER, workers=1):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run(scenario())
    assert admission.in_flight == 0


def test_a_rejected_call_does_not_change_the_count(admission):
    refusal(admission, 9)
    assert admission.in_flight == 0


def test_preparing_counts_only_what_is_being_prepared(admission):
    with admission.preparation(), admission.preparation():
        inside = admission.preparing
    assert (inside, admission.preparing) == (2, 0)


def test_a_deadline_that_the_queue_makes_impossible_is_rejected_at_once(admission):
    assert isinstance(refusal(with_measurement(admission, 0.5), 1, waiting=4, left_s=1.9), DeadlineExceeded)


def test_a_deadline_that_can_be_met_is_accepted(admission):
    attempt(with_measurement(admission, 0.5), 1, waiting=4, left_s=2.1)


def test_a_deadline_that_has_passed_is_refused(admission):
    assert isinstance(refusal(admission, 1, left_s=-0.1), DeadlineExceeded)


def test_no_deadline_is_rejected_before_the_first_measurement(admission):
    attempt(admission, 1, waiting=7, left_s=0.001)


def test_more_workers_meet_more_deadlines(admission):
    attempt(with_measurement(admission, 0.5), 1, waiting=4, left_s=1.9, workers=2)


def test_the_wait_that_a_full_queue_advises_follows_the_measured_time(admission):
    assert refusal(with_measurement(admission, 2.0), 1, waiting=8).retry_after_s == 16


def test_the_advised_wait_is_shared_among_the_workers(admission):
    assert refusal(with_measurement(admission, 2.0), 1, waiting=8, workers=4).retry_after_s == 4


def test_the_advised_wait_is_at_least_a_second(admission):
    assert refusal(admission, 1, waiting=8).retry_after_s == 1


def test_the_advised_wait_has_an_upper_bound(admission):
    assert refusal(with_measurement(admission, 100.0), 1, waiting=8).retry_after_s == LONGEST_RETRY_S


def test_a_slow_model_does_not_affect_the_estimate_of_a_fast_one(admission):
    admission.device_times["masks"].record(10.0, images=1)
    admission.device_times["classes"].record(0.02, images=1)

    async def scenario():
        with admission.admitted(4, model="classes", deadline=NEVER, workers=1):
            admission.check(1, model="classes", deadline=now() + 0.1, workers=1)

    run(scenario())


def test_a_quick_model_waits_for_a_slow_one_before_it(admission):
    admission.device_times["masks"].record(10.0, images=1)

    async def scenario():
        with admission.admitted(1, model="masks", deadline=NEVER, workers=1):
            admission.check(1, model="classes", deadline=now() + 9, workers=1)

    with pytest.raises(DeadlineExceeded):
        run(scenario())


def check(admission: Admission, *, model: str = "", left_s: float, remote: dict[str, int] | None = None, after_s=0.0):
    """Ask for admission of an image, some time after a worker has reported the queues of other frontends."""

    async def scenario() -> None:
        if remote:
            admission.record_remote_queue("worker-0", remote)
        await asyncio.sleep(after_s)
        admission.check(1, model=model, deadline=now() + left_s, workers=1)

    run(scenario())


def test_images_that_wait_for_a_thread_to_decode_delay_a_call(admission):
    admission.prepare_time.record(2.0, images=1)
    with admission.preparation(), pytest.raises(DeadlineExceeded):
        check(admission, left_s=1.9)


def test_threads_share_the_images_that_wait_to_be_decoded():
    admission = Admission(max_queue=8, decode_threads=2)
    admission.prepare_time.record(2.0, images=1)
    with admission.preparation():
        check(admission, left_s=1.1)


def test_the_advised_wait_includes_the_images_that_wait_to_be_decoded(admission):
    admission.prepare_time.record(5.0, images=1)
    with admission.preparation():
        assert refusal(admission, 1, waiting=8).retry_after_s == 5


def test_samples_of_other_frontends_delay_a_call(admission):
    with pytest.raises(DeadlineExceeded):
        check(with_measurement(admission, 0.5), left_s=1.9, remote={"": 4})


def test_a_worker_report_about_other_frontends_expires(admission):
    check(with_measurement(admission, 0.5), left_s=0.1, remote={"": 4}, after_s=REMOTE_QUEUE_S)


def test_many_images_of_a_slow_model_delay_a_quick_one_by_one_batch(admission):
    admission.device_times["masks"].record(10.0, images=1)
    admission.count("masks", 5)
    check(admission, model="classes", left_s=10.1)


def test_a_model_shares_the_device_with_another_that_has_more_work(admission):
    for model in ("masks", "classes"):
        admission.device_times[model].record(1.0, images=1)
    admission.count("masks", 5)
    admission.count("classes", 2)
    check(admission, model="classes", left_s=4.1)
    with pytest.raises(DeadlineExceeded):
        check(admission, model="classes", left_s=3.9)


def test_old_measurements_lose_weight_slowly():
    mean_time = MeanTime()
    for per_image_s in (1.0, 2.0):
        mean_time.record(per_image_s, images=1)
    assert mean_time.per_image_s == pytest.approx(1.1)


def test_the_measured_time_is_per_image_of_a_batch():
    mean_time = MeanTime()
    mean_time.record(1.0, images=4)
    assert mean_time.wait_s(8, parallel=1) == pytest.approx(2.0)
