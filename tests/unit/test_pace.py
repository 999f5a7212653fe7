"""Pace: the waits as tables, and their bounds for any input."""

import contextlib
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker import pace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEAST, MOST = timedelta(seconds=5), timedelta(minutes=5)

ages = st.timedeltas(min_value=timedelta(days=-1), max_value=timedelta(days=365))
seeds = st.integers(0, 2**32)


class Fixed(Random):
    """Chance that always falls the same way."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


LATEST, EARLIEST = Fixed(0.0), Fixed(1.0)


def look(age: timedelta, random: Random, *, ratio: float = 0.1) -> timedelta:
    return pace.next_look(age, ratio=ratio, least=LEAST, most=MOST, random=random)


def test_without_jitter_a_look_comes_at_its_latest_time() -> None:
    wait = pace.next_look(timedelta(seconds=100), ratio=0.1, least=LEAST, most=MOST, random=None)
    assert wait == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("age_seconds", "latest_seconds", "earliest_seconds"),
    [
        (0, 5, 5),
        (-60, 5, 5),  # clocks differ
        (50, 5, 5),
        (60, 6, 5),
        (100, 10, 8),
        (1000, 100, 80),
        (3000, 300, 240),
        (3750, 300, 300),
        (86_400, 300, 300),
    ],
)
def test_a_look_comes_after_a_tenth_of_the_age(
    age_seconds: int, latest_seconds: int, earliest_seconds: int
) -> None:
    age = timedelta(seconds=age_seconds)
    assert look(age, LATEST) == timedelta(seconds=latest_seconds)
    assert look(age, EARLIEST) == timedelta(seconds=earliest_seconds)


@settings(deadline=None)
@given(age=ages, seed=seeds, ratio=st.floats(0.001, 1))
def test_a_look_is_never_late_nor_too_soon(age: timedelta, seed: int, ratio: float) -> None:
    wait = look(age, Random(seed), ratio=ratio)
    assert LEAST <= wait <= MOST
    assert wait <= max(age * ratio, LEAST)
    assert wait >= min(age * ratio * (1 - pace.JITTER), MOST)


@settings(deadline=None)
@given(seed=seeds, duration=st.timedeltas(timedelta(), timedelta(days=2)))
def test_a_job_is_seen_done_within_a_tenth_of_its_duration_or_the_least_wait(
    seed: int, duration: timedelta
) -> None:
    random, age = Random(seed), timedelta()
    while age < duration:
        age += look(age, random)
    assert age - duration <= max(duration * 0.1, LEAST)


def test_a_day_of_looking_costs_few_calls() -> None:
    random, age, looks = Random(1), timedelta(), 0
    while age < timedelta(days=1):
        age += look(age, random)
        looks += 1
    assert looks < 350


@pytest.mark.parametrize(
    ("attempt", "most_seconds"),
    [(-5, 2), (0, 2), (1, 2), (2, 4), (3, 8), (8, 256), (9, 300), (1000, 300), (10**9, 300)],
)
def test_a_retry_waits_for_anything_up_to_twice_as_long_each_time(
    attempt: int, most_seconds: int
) -> None:
    assert pace.retry_delay(attempt, random=Fixed(0.0)) == timedelta(seconds=1)
    assert pace.retry_delay(attempt, random=Fixed(1.0)) == timedelta(seconds=most_seconds)


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        (timedelta(), timedelta()),
        (timedelta(seconds=-5), timedelta()),
        (timedelta(seconds=40), timedelta(seconds=40)),
        (timedelta(minutes=59), timedelta(minutes=59)),
        (timedelta(days=30), timedelta(hours=1)),
        (timedelta.max, timedelta(hours=1)),
        (timedelta.min, timedelta()),
    ],
)
def test_who_asks_us_to_wait_is_waited_for_and_a_little_more(
    asked: timedelta, waited: timedelta
) -> None:
    delay = pace.retry_delay(1, random=Fixed(0.0), retry_after=asked)
    assert delay == waited + timedelta(seconds=1)


@settings(deadline=None)
@given(attempt=st.integers(), seed=seeds, asked=st.none() | st.timedeltas())
def test_a_retry_is_never_at_once_and_never_beyond_the_caps(
    attempt: int, seed: int, asked: timedelta | None
) -> None:
    delay = pace.retry_delay(attempt, random=Random(seed), retry_after=asked)
    cap = pace.RETRY_CAP + (pace.RETRY_AFTER_CAP if asked is not None else timedelta())
    assert pace.RETRY_LEAST <= delay <= cap
    if asked is not None:
        assert delay > min(asked, pace.RETRY_AFTER_CAP)


def test_two_retries_are_not_together() -> None:
    random = Random(1)
    assert len({pace.retry_delay(5, random=random) for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("since", "over"),
    [
        (None, False),
        (NOW, False),
        (NOW + timedelta(hours=1), False),
        (NOW - timedelta(minutes=59), False),
        (NOW - timedelta(hours=1), True),
        (NOW - timedelta(days=9), True),
    ],
)
def test_what_lasts_its_limit_is_over(since: datetime | None, *, over: bool) -> None:
    assert pace.is_over(since, limit=timedelta(hours=1), now=NOW) is over


@pytest.mark.parametrize(
    ("after", "latest"),
    [
        (timedelta(hours=1), timedelta(minutes=6)),
        (timedelta(hours=48), timedelta(minutes=10)),
        (timedelta(seconds=1), timedelta(seconds=0.1)),
    ],
)
def test_jobs_that_are_stored_in_a_while_are_deleted_together(
    after: timedelta, latest: timedelta
) -> None:
    times = [NOW + latest * part / 50 for part in range(150)]
    found = [pace.delete_job_at(time, after=after, ended_at=time) for time in times]
    delays = [at - time - after for at, time in zip(found, times, strict=True) if at is not None]
    assert len(delays) == len(times)
    assert timedelta() <= min(delays)
    assert max(delays) < latest
    assert len(set(found)) <= 5


def test_a_job_that_uplynk_erases_by_then_is_not_deleted() -> None:
    ended_at, day = NOW - timedelta(hours=60), timedelta(hours=24)
    assert pace.delete_job_at(NOW, after=day, ended_at=ended_at) is None
    assert pace.delete_job_at(NOW, after=day / 4, ended_at=ended_at) == NOW + day / 4
    assert pace.delete_job_at(NOW, after=pace.JOB_ERASED_AFTER, ended_at=NOW) is None


@given(stored_at=st.datetimes(timezones=st.just(UTC)), hours=st.floats(1e-12, 72))
def test_a_job_is_deleted_no_sooner_than_is_said(stored_at: datetime, hours: float) -> None:
    after = timedelta(hours=hours)
    with contextlib.suppress(OverflowError):
        at = pace.delete_job_at(stored_at, after=after, ended_at=stored_at)
        latest = stored_at + after * 1.1 + timedelta.resolution
        assert at is None or stored_at + after <= at <= latest


@given(st.integers(1, 50), seeds, st.none() | st.timedeltas(timedelta(), timedelta(days=9)))
def test_a_webhook_has_the_schedule_of_the_specification(
    attempts: int, seed: int, retry_after: timedelta | None
) -> None:
    wait = pace.webhook_again(attempts, random=Random(seed), retry_after=retry_after)
    if attempts > 7:
        assert wait is None
        return
    seconds = (5, 300, 1800, 7200, 18000, 36000, 36000)[attempts - 1]
    least = max(timedelta(seconds=seconds), min(retry_after or timedelta(), timedelta(hours=1)))
    assert wait is not None
    assert least <= wait <= max(least, timedelta(seconds=seconds * 1.1))
