"""Tests when the memory budget rejects a reservation, blocks a thread, and releases memory."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.core.memory import MemoryBudget
from service.errors import Cancelled, Overloaded, TooLarge
from tests.server import wait_until


@pytest.fixture
def budget():
    return MemoryBudget(100)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as executor:
        yield executor


class Work:
    """A thread that reserves working memory until the test sets `go_on`."""

    def __init__(self, account, size_bytes: int, *, large: bool = False) -> None:
        self.account, self.size_bytes, self.large = account, size_bytes, large
        self.started, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        with self.account.in_thread(), self.account.working(self.size_bytes, large=self.large):
            self.started.set()
            assert self.go_on.wait(10)


def reserve_too_much(account) -> None:
    account.reserve(60)
    account.reserve(60)


def test_what_is_reserved_is_released_when_the_call_ends(budget):
    with budget.open() as account:
        account.reserve(60)
        inside = budget.reserved_bytes
    assert (inside, budget.reserved_bytes) == (60, 0)


def test_what_is_reserved_is_released_when_the_call_fails(budget):
    with pytest.raises(TooLarge), budget.open() as account:
        reserve_too_much(account)
    assert budget.reserved_bytes == 0


def test_more_than_the_limit_is_refused_and_not_counted(budget):
    with budget.open() as first, budget.open() as second:
        first.reserve(60)
        with pytest.raises(Overloaded):
            second.reserve(60)
        assert budget.reserved_bytes == 60


def test_what_alone_exceeds_the_limit_is_too_large(budget):
    with budget.open() as account, pytest.raises(TooLarge):
        account.reserve(101)


def test_a_call_that_holds_all_memory_itself_is_too_large(budget):
    with budget.open() as account:
        account.reserve(60)
        with pytest.raises(TooLarge):
            account.reserve(60)


def test_memory_that_exists_is_counted_beyond_the_limit(budget):
    with budget.open() as account, budget.open() as other:
        account.count(150)
        with pytest.raises(Overloaded):
            other.reserve(1)


def test_a_part_can_be_released_before_the_end(budget):
    with budget.open() as account:
        account.reserve(60)
        account.release(50)
        assert budget.reserved_bytes == 10


def test_memory_stays_reserved_until_the_thread_of_an_ended_call_returns(budget, threads):
    with budget.open() as account:
        work = Work(account, 40)
        running = threads.submit(work)
        assert work.started.wait(10)
    held = budget.reserved_bytes
    work.go_on.set()
    running.result(10)
    assert (held, budget.reserved_bytes) == (40, 0)


def test_a_thread_does_not_begin_for_a_call_that_has_ended(budget):
    with budget.open() as account:
        pass
    with pytest.raises(Cancelled), account.in_thread():
        pass


def test_a_thread_waits_for_memory_that_another_one_will_release(budget, threads):
    with budget.open() as account:
        first, second = Work(account, 60), Work(account, 60)
        running = [threads.submit(first)]
        assert first.started.wait(10)
        running.append(threads.submit(second))
        wait_until(lambda: account.users == 3, what="a second thread")
        waited = not second.started.is_set()
        first.go_on.set()
        second.go_on.set()
        for each in running:
            each.result(10)
    assert waited
    assert second.started.is_set()


def test_large_images_together_leave_a_part_of_the_memory_to_small_ones(budget, threads):
    with budget.open() as account:
        first, second, small = Work(account, 40, large=True), Work(account, 40, large=True), Work(account, 40)
        running = [threads.submit(first)]
        assert first.started.wait(10)
        running.append(threads.submit(second))
        wait_until(lambda: account.users == 3, what="a second thread")
        running.append(threads.submit(small))
        assert small.started.wait(10)
        waited = not second.started.is_set()
        for each in (first, second, small):
            each.go_on.set()
        for each in running:
            each.result(10)
    assert waited
    assert second.started.is_set()


def test_a_large_image_alone_may_take_all_memory(budget):
    with budget.open() as account, account.in_thread(), account.working(100, large=True):
        assert budget.reserved_bytes == 100


def test_a_thread_does_not_wait_for_memory_that_no_thread_will_release(budget):
    with budget.open() as other, budget.open() as account:
        other.reserve(60)
        with pytest.raises(Overloaded), account.working(60):
            pass


def test_a_thread_stops_waiting_when_its_call_ends(budget, threads):
    with budget.open() as other:
        first = Work(other, 60)
        running = threads.submit(first)
        assert first.started.wait(10)
        with budget.open() as account:
            waiting = threads.submit(Work(account, 60))
            wait_until(lambda: account.users == 2, what="a second thread")
        with pytest.raises(Cancelled):
            waiting.result(10)
        first.go_on.set()
        running.result(10)
    assert budget.reserved_bytes == 0


def test_an_account_that_has_ended_takes_nothing_more_and_returns_nothing_twice(budget):
    with budget.open() as account:
        account.reserve(60)
    for take in (account.reserve, account.count):
        with pytest.raises(Cancelled):
            take(10)
    account.release(60)
    assert budget.reserved_bytes == 0
