"""Tuner: as many streams as help, on lines of all kinds."""

from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from worker.transfer.tuner import BEGIN_SECONDS, RATES_UNTIL_NEXT_TRY, Pace, tuner


def counts(line: Callable[[int], float], *, most: int = 8, first: int = 4) -> Iterator[int]:
    """Give how many streams there are, one rate after the other."""
    tuned = tuner(most=most, first=first)
    count = next(tuned)
    while True:
        yield count
        count = tuned.send(line(count))


def settled(line: Callable[[int], float], **options: int) -> int:
    return list(islice(counts(line, **options), 20))[-1]


@pytest.mark.parametrize(
    ("line", "count"),
    [
        (lambda count: 30.0 * count, 8),  # each connection is limited
        (lambda _count: 100.0, 1),  # the line is
        (lambda count: min(30.0 * count, 60.0), 2),
        (lambda count: min(30.0 * count, 125.0), 4),
        (lambda count: 100.0 / count, 1),  # the more, the slower
        (lambda _count: 0.0, 1),
    ],
)
def test_there_are_as_many_as_help(line: Callable[[int], float], count: int) -> None:
    assert settled(line) == count


@pytest.mark.parametrize(("most", "count"), [(1, 1), (2, 2), (3, 3), (6, 6), (64, 64)])
def test_there_are_no_more_than_are_allowed(most: int, count: int) -> None:
    assert settled(lambda count: 30.0 * count, most=most) == count
    assert max(islice(counts(lambda count: 30.0 * count, most=most), 200)) == count


def test_a_line_that_got_better_is_found_out() -> None:
    rates = iter([100.0] * 30)
    found = list(islice(counts(lambda count: next(rates, 30.0 * count)), 2 * RATES_UNTIL_NEXT_TRY))
    assert found[29] == 1
    assert found[-1] == 8


class Times:
    """Two clocks that a test moves: the time, and what the process used of it."""

    def __init__(self) -> None:
        self.now = self.used = 0.0
        self.pace = Pace(lambda: self.now, lambda: self.used)

    def go_on(self, seconds: float, *, used: float = 0.0) -> None:
        self.now, self.used = self.now + seconds, self.used + used


@pytest.mark.parametrize(("used", "count"), [(0.0, 4), (0.05, 4), (0.1, 1), (0.2, 1)])
def test_there_is_one_to_begin_with_where_the_process_is_too_slow_for_more(
    used: float, count: int
) -> None:
    times = Times()
    times.pace.begin(1000, most=8)
    assert times.pace.count(2000, flowing=1) is None, "nothing is known yet"
    times.go_on(0.11, used=used)
    assert times.pace.count(12_000, flowing=1) == count
    assert times.pace.rate_of_one == pytest.approx(100_000)


@pytest.mark.parametrize(("seconds", "flowing"), [(0.1, 4), (BEGIN_SECONDS, 3)])
def test_a_rate_is_taken_when_all_have_begun_or_had_the_time_to(
    seconds: float, flowing: int
) -> None:
    times = Times()
    times.pace.begin(0, most=8)
    times.go_on(0.2)
    assert times.pace.count(100, flowing=1) == 4
    times.pace.expect(4)
    times.go_on(BEGIN_SECONDS - 0.2)
    assert times.pace.count(200, flowing=3) is None
    times.go_on(seconds)
    assert times.pace.count(300, flowing=flowing) is None, "the rate begins to be taken"
    times.go_on(0.5)
    assert times.pace.count(5300, flowing=2) == 8
    assert times.pace.rate_of_one == pytest.approx(2500)
