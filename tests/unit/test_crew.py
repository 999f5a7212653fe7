"""Crew: what several threads do for one step, and what becomes of what goes wrong there."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock, get_ident

import pytest

from tests.waiting import wait_until
from worker.steps import ledger
from worker.steps.crew import Crew

SECONDS = 30.0


def test_they_work_at_once() -> None:
    barrier = Barrier(4)  # nobody passes it alone

    def work() -> None:
        barrier.wait(SECONDS)

    Crew(3).together(work, 4)
    assert not barrier.broken


def test_no_more_come_than_are_asked_for_or_are_there() -> None:
    came, lock = list[int](), Lock()

    def come() -> None:
        with lock:
            came.append(get_ident())

    Crew().together(come, 1)
    assert came == [get_ident()]
    Crew(0).together(come, 5)
    assert came == [get_ident()] * 2
    crew, barrier = Crew(2), Barrier(3)

    def come_together() -> None:
        barrier.wait(SECONDS)
        come()

    crew.together(come_together, 9)
    assert len(came) == 5


def test_helpers_stay_for_the_next_step() -> None:
    crew = Crew(1)
    seen = set[int]()
    for _ in range(5):
        barrier = Barrier(2)

        def come(barrier: Barrier = barrier) -> None:
            barrier.wait(SECONDS)
            seen.add(get_ident())

        crew.together(come, 2)
    assert len(seen) == 2


def test_what_is_counted_there_is_of_the_step() -> None:
    barrier = Barrier(4)

    def call() -> None:
        barrier.wait(SECONDS)
        for _ in range(1000):
            ledger.current().called()

    with ledger.counted() as counts:
        Crew(3).together(call, 4)
    assert counts.calls == 4000


@pytest.mark.parametrize("fails_in_helper", [True, False])
def test_what_goes_wrong_is_raised_when_all_have_ended(*, fails_in_helper: bool) -> None:
    here, barrier, ended = get_ident(), Barrier(2), list[int]()
    failed = Event()

    def work() -> None:
        barrier.wait(SECONDS)
        if (get_ident() != here) is fails_in_helper:
            failed.set()
            raise LookupError
        failed.wait(SECONDS)
        ended.append(get_ident())

    with pytest.raises(LookupError):
        Crew(1).together(work, 2)
    assert len(ended) == 1


def test_a_helper_that_is_busy_elsewhere_is_not_waited_for() -> None:
    crew, gate, begun = Crew(1), Event(), list[int]()

    def hang() -> None:
        begun.append(get_ident())
        gate.wait(SECONDS)

    def both_hang() -> bool:
        return len(begun) == 2

    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(crew.together, hang, 2)
        wait_until(both_hang, what="a step whose helper hangs")
        done = list[int]()
        crew.together(lambda: done.append(get_ident()), 2)
        assert done == [get_ident()]
        gate.set()
        hanging.result(SECONDS)
    assert done == [get_ident()]
