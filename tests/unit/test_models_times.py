"""Times: aware, and in UTC, whatever the database keeps."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import DateTime, Dialect, inspect, make_url

from models import Base
from models.base import UtcDateTime

POSTGRESQL, SQLITE = (
    make_url(url).get_dialect()() for url in ("postgresql+psycopg://", "sqlite://")
)
DIALECTS: list[Dialect] = [POSTGRESQL, SQLITE]
ZONE = timezone(timedelta(hours=5, minutes=30))


class Nowhere(tzinfo):
    """A zone that does not say how far it is from UTC: times in it are naive all the same."""

    def utcoffset(self, _time: datetime | None) -> None:
        return None

    def dst(self, _time: datetime | None) -> None:
        return None

    def tzname(self, _time: datetime | None) -> None:
        return None


def kept(dialect: Dialect, time: datetime | None) -> datetime | None:
    return UtcDateTime().process_bind_param(time, dialect)


def read(dialect: Dialect, time: datetime | None) -> datetime | None:
    return UtcDateTime().process_result_value(time, dialect)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
@pytest.mark.parametrize("zone", [None, Nowhere()])
def test_a_naive_time_is_refused(dialect: Dialect, zone: tzinfo | None) -> None:
    with pytest.raises(ValueError, match="a naive time can't be stored"):
        kept(dialect, datetime(2026, 3, 1, tzinfo=zone))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
def test_no_time_is_no_time(dialect: Dialect) -> None:
    assert kept(dialect, None) is None
    assert read(dialect, None) is None


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
@given(
    time=st.datetimes(
        min_value=datetime(1900, 1, 1),  # noqa: DTZ001  (the zone is drawn apart)
        timezones=st.sampled_from([UTC, ZONE, ZoneInfo("Europe/Berlin")]),
        allow_imaginary=False,
        max_value=datetime(2200, 1, 1),  # noqa: DTZ001  (same)
    )
)
def test_what_is_read_is_what_was_written_in_utc(dialect: Dialect, time: datetime) -> None:
    back = read(dialect, kept(dialect, time))
    assert back is not None
    assert back.astimezone(UTC) == time.astimezone(UTC)
    assert back.tzinfo is UTC


def test_sqlite_keeps_the_clock_time_of_utc() -> None:
    time = datetime(2026, 3, 1, 12, tzinfo=ZONE)
    assert kept(SQLITE, time) == datetime(2026, 3, 1, 6, 30)  # noqa: DTZ001  (on purpose)


def test_a_connection_in_another_zone_is_read_in_utc() -> None:
    back = read(POSTGRESQL, datetime(2026, 3, 1, 12, tzinfo=ZONE))
    assert back is not None
    assert (back.hour, back.tzinfo) == (6, UTC)


def test_no_column_keeps_a_time_in_another_way() -> None:
    for mapper in Base.registry.mappers:
        for column in inspect(mapper).local_table.columns:
            assert not isinstance(column.type, DateTime), column
