"""Kinds: times and ages as somebody types them."""

from datetime import UTC, datetime, timedelta, timezone

import click
import pytest

from models.listing import Place
from worker.cli import kinds

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("1.5h", NOW - timedelta(minutes=90)),
        ("7 d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(days=14)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-02-28T13:00", datetime(2026, 2, 28, 13, tzinfo=UTC)),
        (
            "2026-02-28T13:00+02:00",
            datetime(2026, 2, 28, 13, tzinfo=timezone(timedelta(hours=2))),
        ),
    ],
)
def test_a_time_or_an_age_is_read(typed: str, meant: datetime) -> None:
    assert kinds.ago(kinds.moment(typed), NOW) == meant


@pytest.mark.parametrize("typed", ["9999999999w", "9" * 400 + "w"])
def test_an_age_beyond_all_reason_is_long_ago(typed: str) -> None:
    long_ago = kinds.ago(kinds.moment(typed), NOW)
    assert long_ago is not None
    assert long_ago.year < 1970


def test_without_a_time_none_is_meant() -> None:
    assert kinds.ago(None, NOW) is None


def test_a_cursor_is_read_as_it_is_shown() -> None:
    place = Place(NOW, "an/id with / all in it")
    assert kinds.cursor(kinds.shown(place)) == place


@pytest.mark.parametrize(
    "typed", ["0001-01-01T00:00+23:00", "9999-12-31T23:00-23:00", "10000-01-01"]
)
def test_a_time_that_no_calendar_has_in_utc_is_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter, match="neither an age"):
        kinds.moment(typed)
    with pytest.raises(click.BadParameter, match="no cursor"):
        kinds.cursor(f"{typed}/x")


@pytest.mark.parametrize("typed", ["", "/", "2026-03-01T12:00/x", "2026-03-01T12:00+00:00/", "x/y"])
def test_what_is_no_cursor_is_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter, match="no cursor"):
        kinds.cursor(typed)
