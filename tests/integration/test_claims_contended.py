"""Claims under contention: nothing is taken twice, and nobody waits for nothing."""

import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event, Thread
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

import migrations
from models import Export, State, admission, claims
from tests.engines import sessions_on
from tests.factories import make_export
from tests.waiting import wait_until

Sessions = sessionmaker[Session]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNTIL = NOW + timedelta(hours=1)
EXPORTS = 60
TAKERS = 4

meeting: list[Barrier] = []


def take(session: Session, limit: int = 1) -> list[Export]:
    return claims.take(session, State.REQUESTED, now=NOW, until=UNTIL, limit=limit)


def gather(barrier: Barrier) -> None:
    """Let a taker know where all takers meet before they begin."""
    meeting.append(barrier)


def take_at_once(url: str) -> list[UUID]:
    meeting[-1].wait(60)
    return take_all(url)


def take_all(url: str) -> list[UUID]:
    """Take what is due, a few at a time, until nothing is."""
    mine: list[UUID] = []
    with sessions_on(url) as sessions:
        while True:
            with sessions.begin() as session:
                taken = take(session, limit=2)
            if not taken:
                return mine
            mine += [export.id for export in taken]


def pool(kind: str) -> Executor:
    if kind == "threads":
        return ThreadPoolExecutor(TAKERS, initializer=gather, initargs=(Barrier(TAKERS),))
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(TAKERS)
    return ProcessPoolExecutor(TAKERS, spawn, initializer=gather, initargs=(barrier,))


def make_due(sessions: Sessions, number: int) -> set[UUID]:
    return {
        make_export(sessions, state=State.REQUESTED, due_at=NOW, priority=index % 3).id
        for index in range(number)
    }


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_takers_never_get_the_same_export(sessions: Sessions, database_url: str, kind: str) -> None:
    made = make_due(sessions, EXPORTS)
    with pool(kind) as takers:
        shares = list(takers.map(take_at_once, [database_url] * TAKERS))
    taken = [export_id for share in shares for export_id in share]
    assert len(taken) == len(set(taken))
    # on PostgreSQL a row may be passed over for a moment, and nobody comes back here
    left = take_all(database_url)
    assert {*taken, *left} == made


@pytest.mark.services
def test_a_row_that_another_is_taking_is_passed_over(sessions: Sessions) -> None:
    made = make_due(sessions, 2)
    with sessions.begin() as one, sessions.begin() as other:
        # should one wait for the other, it would be until the lock timeout
        assert {take(one)[0].id, take(other)[0].id} == made
        assert take(other) == []


@pytest.mark.services
def test_a_row_that_an_open_transaction_locks_is_passed_over(sessions: Sessions) -> None:
    locked, free = make_due(sessions, 1), make_due(sessions, 1)
    with sessions.begin() as one, sessions.begin() as other:
        one.get_one(Export, *locked, with_for_update=True)
        assert {export.id for export in take(other, limit=9)} == free
    with sessions.begin() as session:
        assert {export.id for export in take(session, limit=9)} == locked


def test_a_taker_that_rolls_back_leaves_the_row_due(sessions: Sessions) -> None:
    made = make_due(sessions, 1)
    with sessions() as session:
        assert len(take(session)) == 1
        session.rollback()
    with sessions.begin() as session:
        assert {export.id for export in take(session)} == made


def test_on_sqlite_a_taker_waits_for_the_other_to_commit(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/exports.db"
    migrations.upgrade(url)
    begins, theirs = Event(), list[UUID]()

    def other() -> None:
        with sessions_on(url) as sessions:
            begins.set()
            with sessions.begin() as session:
                theirs.extend(export.id for export in take(session))

    with sessions_on(url) as sessions:
        made = make_due(sessions, 2)
        with sessions.begin() as session:
            mine = [export.id for export in take(session)]
            taker = Thread(target=other)
            taker.start()
            assert begins.wait(10)
            taker.join(0.2)
            assert taker.is_alive()
            assert theirs == []
        taker.join(10)
    assert {*mine, *theirs} == made
    assert mine != theirs


def test_who_records_an_outcome_shuts_out_who_takes_over(sessions: Sessions) -> None:
    make_due(sessions, 1)
    with sessions.begin() as session:
        [mine] = take(session)
    taken: list[Export] = []

    def take_over() -> None:
        with sessions.begin() as session:
            now = UNTIL + timedelta(seconds=1)
            taken.extend(claims.take(session, State.REQUESTED, now=now, until=now))

    with sessions.begin() as session:
        held = claims.held(session, mine.id, mine.claim)
        assert held is not None
        taker = Thread(target=take_over)
        taker.start()
        taker.join(0.2)  # on PostgreSQL it has passed the row over by now; on SQLite it waits
        held.advance(State.SUBMITTING, now=NOW, reason="in time")
    taker.join(10)
    assert taken == []


@pytest.mark.services
def test_one_transaction_at_a_time_counts_the_window(sessions: Sessions) -> None:
    make_due(sessions, 2)
    counted: list[int] = []

    def admit() -> None:
        with sessions.begin() as session:
            admission.lock(session)
            counted.append(claims.count(session, [State.SUBMITTING]))

    with sessions.begin() as session:
        admission.lock(session)
        for export in take(session):
            export.advance(State.SUBMITTING, now=NOW, reason="room", keep_claim=True)
        other = Thread(target=admit)
        other.start()
        with sessions.begin() as watching:
            waiting = text(
                "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND NOT granted"
            )
            wait_until(lambda: watching.scalar(waiting), what="the wait for the lock")
        assert counted == []
    other.join(10)
    assert counted == [1]


@pytest.mark.services
def test_a_server_of_another_isolation_counts_the_window_all_the_same(
    sessions: Sessions, database_url: str
) -> None:
    with sessions.begin() as session:
        name = session.scalar(text("SELECT current_database()"))
        default = "SET default_transaction_isolation = 'repeatable read'"
        session.execute(text(f'ALTER DATABASE "{name}" {default}'))
    make_due(sessions, 1)
    with sessions_on(database_url) as later, later.begin() as session:
        assert claims.count(session, [State.SUBMITTING]) == 0
        with sessions.begin() as other:
            for export in take(other):
                export.advance(State.SUBMITTING, now=NOW, reason="room", keep_claim=True)
        assert claims.count(session, [State.SUBMITTING]) == 1
