"""A database of PostgreSQL is lent to one test after the other: each finds it like a new one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text

from models import State
from models.base import Base
from models.history import History
from tests.databases import LITTLE_BYTES, Copies
from tests.engines import sessions_on
from tests.factories import build_export

pytestmark = pytest.mark.services

LINE_BYTES = 200


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies(os.environ["TEST_DATABASE_URL"])
    yield made
    made.close()


def number_of(url: str) -> int:
    """Return what PostgreSQL knows the database by, whatever its name is."""
    number = "SELECT oid FROM pg_database WHERE datname = current_database()"
    with sessions_on(url) as sessions, sessions.begin() as session:
        return int(session.execute(text(number)).scalar_one())


def wrote(url: str, lines: int) -> int:
    """Put an export with as many lines of history on record; returns the first one's number."""
    with sessions_on(url) as sessions, sessions.begin() as session:
        session.add(export := build_export(state=State.FAILED))
        session.flush()
        line = {"export_id": export.id, "at": export.created_at, "reason": "x" * LINE_BYTES}
        states = {"from_state": State.REQUESTED, "to_state": State.FAILED}
        session.execute(insert(History), [line | states] * lines)
        return session.scalars(select(func.min(History.id))).one()


@pytest.mark.parametrize("size_bytes", [LINE_BYTES, 2 * LITTLE_BYTES])
def test_nothing_is_left_for_the_next(copies: Copies, tmp_path: Path, size_bytes: int) -> None:
    lent = set()
    for _ in range(3):
        with copies.one(tmp_path) as url:
            lent.add(number_of(url))
            assert wrote(url, size_bytes // LINE_BYTES) == 1
    assert len(lent) == 1
    with copies.one(tmp_path) as url, sessions_on(url) as sessions, sessions.begin() as session:
        for table in Base.metadata.sorted_tables:
            assert session.scalar(select(func.count()).select_from(table)) == 0, table.name
