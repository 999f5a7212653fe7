"""Tuner: as many streams as help, on lines of all kinds."""

from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from worker.transfer.tuner import RATES_UNTIL_NEXT_TRY, tuner


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
