"""Times: aware UTC goes in and comes out of either database, and they compare as times do."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session, sessionmaker

from models import Export, State, claims
from tests.engines import sessions_on
from tests.factories import make_export

Sessions = sessionmaker[Session]

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
INDIA = timezone(timedelta(hours=5, minutes=30))


def read(sessions: Sessions, export: Export) -> Export:
    with sessions.begin() as session:
        return session.get_one(Export, export.id)


@pytest.mark.parametrize(
    "time", [NOW, NOW.replace(microsecond=0), NOW.astimezone(INDIA)], ids=["us", "s", "india"]
)
def test_what_is_read_is_what_was_written_in_utc(sessions: Sessions, time: datetime) -> None:
    kept = read(sessions, make_export(sessions, state=State.REQUESTED, due_at=time))
    assert kept.due_at == time
    assert kept.due_at.tzinfo is UTC
    assert kept.claimed_until is None


def test_a_naive_time_is_refused(sessions: Sessions) -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(StatementError, match="a naive time can't be stored"):
        make_export(sessions, state=State.REQUESTED, due_at=naive)
    with sessions.begin() as session, pytest.raises(StatementError, match="a naive time"):
        claims.due(session, State.REQUESTED, now=naive, limit=1)


def test_times_of_other_zones_compare_as_times(sessions: Sessions) -> None:
    early = make_export(sessions, state=State.REQUESTED, due_at=NOW.astimezone(INDIA))
    make_export(sessions, state=State.REQUESTED, due_at=NOW + timedelta(hours=1))
    now = (NOW + timedelta(microseconds=1)).astimezone(timezone(-timedelta(hours=8)))
    with sessions.begin() as session:
        assert claims.due(session, State.REQUESTED, now=now, limit=9) == [early.id]


def test_a_time_that_the_database_works_out_is_aware_too(sessions: Sessions) -> None:
    make_export(sessions, state=State.REQUESTED, due_at=NOW)
    with sessions.begin() as session:
        last = session.scalar(select(func.max(Export.due_at)))
    assert (last, last and last.tzinfo) == (NOW, UTC)


@pytest.mark.services
def test_the_zone_of_the_server_makes_no_difference(sessions: Sessions, database_url: str) -> None:
    with sessions.begin() as session:
        name = session.scalar(text("SELECT current_database()"))
        session.execute(text(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Kolkata'"))
    with sessions_on(database_url) as elsewhere:
        made = make_export(elsewhere, state=State.REQUESTED, due_at=NOW)
        kept = read(elsewhere, made)
    assert (kept.due_at, kept.due_at and kept.due_at.tzinfo) == (NOW, UTC)
    assert read(sessions, made).due_at == NOW
