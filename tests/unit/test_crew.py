"""Crew: threads that work for one step, side by side."""

from concurrent.futures import wait
from threading import Barrier, get_ident

from worker.steps import ledger
from worker.steps.crew import Crew

SECONDS = 30.0


def test_they_work_at_once() -> None:
    crew, barrier = Crew(), Barrier(40)  # nobody passes it alone

    def work() -> None:
        barrier.wait(SECONDS)

    assert not wait([crew.start(work) for _ in range(40)], SECONDS).not_done
    assert not barrier.broken


def test_threads_stay_for_the_next_step() -> None:
    crew, seen = Crew(), set[int]()
    for _ in range(5):
        crew.start(lambda: seen.add(get_ident())).result(SECONDS)
    assert len(seen) == 1
    assert get_ident() not in seen


def test_what_is_counted_there_is_of_the_step() -> None:
    crew, barrier = Crew(), Barrier(4)

    def call() -> None:
        barrier.wait(SECONDS)
        for _ in range(1000):
            ledger.current().called()

    with ledger.counted() as counts:
        wait([crew.start(call) for _ in range(4)], SECONDS)
    assert counts.calls == 4000
