"""Skew: what replies tell of Uplynk's clock, and what is made of it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.cloudslicer.skew import SLACK, Exchange, Skew
from worker.headers import date_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def reply(
    skew: Skew, *, ahead: float, took: float = 0.0, at: datetime = NOW, dated: float = 0.5
) -> timedelta | None:
    """Let `skew` learn from a reply dated at that part of its way; returns what is known then."""
    exchange = Exchange(at, at + timedelta(seconds=took))
    date = at + timedelta(seconds=ahead + took * dated)
    skew.measure({"Date": format_datetime(date, usegmt=True)}, exchange)
    return skew.measured


def test_nothing_is_known_before_a_reply() -> None:
    skew = Skew()
    assert skew.measured is None
    assert skew.correction == timedelta()


@pytest.mark.parametrize("ahead", [0, 0.4, -0.9, 3, -3])
def test_clocks_that_are_seconds_apart_agree(ahead: float) -> None:
    assert reply(Skew(), ahead=ahead, took=0.1) == timedelta()


@pytest.mark.parametrize("ahead", [600, -600, 10, -10, 40_000_000 / 2])
@pytest.mark.parametrize("took", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("dated", [0.0, 0.5, 1.0])
def test_clocks_that_are_minutes_apart_are_measured(
    ahead: float, took: float, dated: float
) -> None:
    known = reply(Skew(), ahead=ahead, took=took, dated=dated)
    assert known is not None
    assert abs(known - timedelta(seconds=ahead)) <= timedelta(seconds=1 + took / 2)


def test_what_is_known_stays_while_replies_fit_it() -> None:
    skew = Skew()
    first = reply(skew, ahead=600)
    assert [reply(skew, ahead=600 + by, took=0.5) for by in (1, -1, 4, -4, 0)] == [first] * 5


def test_a_slow_reply_tells_little_and_changes_nothing() -> None:
    skew = Skew()
    first = reply(skew, ahead=600)
    assert reply(skew, ahead=590, took=30, dated=1.0) == first


def test_a_clock_that_was_set_right_is_noticed() -> None:
    skew = Skew()
    reply(skew, ahead=600)
    assert reply(skew, ahead=0.2) == timedelta()


def test_a_clock_that_is_set_in_the_midst_of_a_call_breaks_nothing() -> None:
    skew = Skew()
    assert reply(skew, ahead=0, took=-600) == timedelta()


@pytest.mark.parametrize(
    "date",
    ["", "soon", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "0", "\0"],
)
def test_a_date_that_no_clock_shows_is_not_believed(date: str) -> None:
    skew = Skew()
    skew.measure({"Date": date}, Exchange(NOW, NOW))
    assert skew.measured is None


def test_a_reply_without_a_date_tells_nothing() -> None:
    skew = Skew()
    skew.measure({}, Exchange(NOW, NOW))
    assert skew.measured is None


@settings(deadline=None, derandomize=True)
@given(value=st.text(st.characters(max_codepoint=255)))
def test_no_header_breaks_the_reader(value: str) -> None:
    date = date_of(value)
    assert date is None or date.tzinfo is UTC


@settings(deadline=None, derandomize=True)
@given(
    replies=st.lists(
        st.tuples(st.floats(-9000, 9000), st.floats(0, 40), st.floats(0, 1)), min_size=1
    )
)
def test_what_is_known_fits_the_last_reply(replies: list[tuple[float, float, float]]) -> None:
    skew = Skew()
    for ahead, took, dated in replies:
        known = reply(skew, ahead=ahead, took=took, dated=dated)
        assert known is not None
        error = abs(known - timedelta(seconds=ahead))
        assert error <= SLACK + timedelta(seconds=took + 1.001)
