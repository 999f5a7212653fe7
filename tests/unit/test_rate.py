"""Rate: how fast a download is of late, and how long it will take at that."""

import pytest

from models import Export
from worker.steps.heartbeat import Rate


def test_a_steady_growth_has_its_rate_from_the_second_look_on() -> None:
    rate = Rate()
    assert rate.of(None, 0.0) is None
    assert rate.of(100, 1.0) is None
    assert rate.of(300, 2.0) == pytest.approx(200)
    assert rate.of(500, 3.0) == pytest.approx(200)


def test_what_it_did_of_late_counts_for_more() -> None:
    rate = Rate()
    for second in range(5):
        rate.of(100 * second, second)
    slowed = [rate.of(400, second) for second in range(5, 15)]
    assert slowed == sorted(slowed, key=lambda each: -(each or 0))
    assert 0 < (slowed[-1] or 0) < 10


def test_what_is_begun_anew_or_looked_at_twice_is_never_negative() -> None:
    rate = Rate()
    rate.of(1000, 1.0)
    assert rate.of(0, 2.0) == 0
    assert rate.of(50, 2.0) == 0


@pytest.mark.parametrize(
    ("done", "total", "rate", "left"),
    [(50, 100, 5.0, 10.0), (100, 100, 5.0, 0.0), (50, None, 5.0, None), (50, 100, None, None),
     (None, None, None, None), (50, 100, 0.0, None)],
)  # fmt: skip
def test_the_time_left_is_told_if_it_can_be(
    done: int | None, total: int | None, rate: float | None, left: float | None
) -> None:
    export = Export(bytes_done=done, bytes_total=total, bytes_per_second=rate)
    assert export.seconds_left == left
