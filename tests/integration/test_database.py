"""The database: engines that wait, give up and commit alike on SQLite and on PostgreSQL."""

import multiprocessing
import sqlite3
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from models import Export, State
from models.database import LOCK_SECONDS, autocommitted
from tests.engines import connected, sessions_on
from tests.factories import make_export, reload

Sessions = sessionmaker[Session]

PROCESSES = 4
ROUNDS = 8
POOL = 5  # more than there are connections


def said(url: str, question: str) -> object:
    """Return the first value that the database answers."""
    with connected(url) as connection:
        return connection.scalar(text(question))


def write(url: str) -> None:
    with connected(url) as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS seen (id INTEGER)"))
        connection.execute(text("INSERT INTO seen VALUES (1)"))


def prioritise(session: Session, priority: int) -> None:
    session.execute(update(Export).values(priority=priority))


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("foreign_keys", 1),
        ("busy_timeout", LOCK_SECONDS * 1000),
        ("synchronous", 2),
    ],
)
def test_sqlite_is_set_up_on_each_connection(tmp_path: Path, pragma: str, value: object) -> None:
    assert said(f"sqlite:///{tmp_path}/new/folder/exports.db", f"PRAGMA {pragma}") == value


def test_sqlite_in_memory_works_too() -> None:
    assert said("sqlite://", "SELECT 1") == 1
    assert said("sqlite:///:memory:", "SELECT 1") == 1


def test_a_sqlite_transaction_has_the_file_to_itself_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "exports.db"
    write(f"sqlite:///{path}")
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    with connected(f"sqlite:///{path}") as connection:
        connection.execute(text("SELECT 1"))
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT count(*) FROM seen").fetchone() == (1,)
    other.execute("BEGIN IMMEDIATE")
    other.close()


def test_a_sqlite_file_in_use_is_opened_once_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "exports.db"
    user = sqlite3.connect(path, isolation_level=None)
    user.execute("CREATE TABLE seen (id INTEGER)")
    user.execute("BEGIN IMMEDIATE")  # not written ahead yet, and not to be switched now
    opener = Thread(target=write, args=[f"sqlite:///{path}"])
    opener.start()
    opener.join(0.2)
    assert opener.is_alive()
    user.execute("COMMIT")
    opener.join(LOCK_SECONDS)
    assert user.execute("SELECT count(*) FROM seen").fetchone() == (1,)
    user.close()


def test_a_sqlite_file_that_can_not_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "exports.db").executescript("CREATE TABLE seen (id)").close()
    with pytest.raises(OperationalError, match="readonly"):
        write(f"sqlite:///file:{tmp_path}/exports.db?mode=ro&uri=true")


def test_processes_that_open_a_new_sqlite_file_at_once_all_succeed(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, spawn) as processes:
        for number in range(ROUNDS):
            url = f"sqlite:///{tmp_path}/{number}.db"
            list(processes.map(write, [url] * PROCESSES))
            assert said(url, "SELECT count(*) FROM seen") == PROCESSES


def test_what_was_read_under_a_lock_is_still_true_when_it_is_written(sessions: Sessions) -> None:
    export_id = make_export(sessions, state=State.EXPORTING).id

    def count(_: int) -> None:
        with sessions.begin() as session:
            session.get_one(Export, export_id, with_for_update=True).polls += 1

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(40)))
    assert polls(sessions, export_id) == 40


def polls(sessions: Sessions, export_id: UUID) -> int:
    with sessions.begin() as session:
        return session.get_one(Export, export_id).polls


def test_what_was_loaded_stays_readable_after_the_commit(sessions: Sessions) -> None:
    made = make_export(sessions, state=State.EXPORTING, job_id="j1")
    assert made.job_id == "j1"


def test_an_error_does_not_show_what_was_sent(sessions: Sessions) -> None:
    make_export(sessions, state=State.EXPORTING, job_id="j1")
    with pytest.raises(IntegrityError) as caught:
        make_export(sessions, state=State.EXPORTING, job_id="j1", url="https://signed")
    assert "signed" not in str(caught.value)


@pytest.mark.services
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("statement_timeout", "30s"),
        ("lock_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("application_name", "uplynk-export"),
        ("transaction_isolation", "read committed"),
    ],
)
def test_postgresql_is_set_up_on_each_connection(
    database_url: str, setting: str, value: str
) -> None:
    assert said(database_url, f"SHOW {setting}") == value


@pytest.mark.services
def test_a_server_that_vanished_is_given_up(database_url: str) -> None:
    with connected(database_url) as connection:
        driver: Any = connection.connection.driver_connection
        told = driver.info.get_parameters()
    expected = {
        "connect_timeout": "10",
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "60000",
    }
    assert expected.items() <= told.items()


@pytest.mark.services
def test_what_the_url_says_goes_before_what_we_say(database_url: str) -> None:
    options = "options=-c%20search_path%3Delsewhere&options=-c%20lock_timeout%3D2s"
    url = f"{database_url}?{options}&application_name=theirs"
    assert said(url, "SHOW search_path") == "elsewhere"
    assert said(url, "SHOW lock_timeout") == "2s"
    assert said(url, "SHOW statement_timeout") == "30s"
    assert said(url, "SHOW application_name") == "theirs"


@pytest.mark.services
def test_a_statement_that_is_a_transaction_by_itself_is_seen_at_once(sessions: Sessions) -> None:
    export = make_export(sessions, state=State.EXPORTING)
    with suppress(InterruptedError), autocommitted(sessions) as session:
        prioritise(session, 7)
        assert reload(sessions, export).priority == 7
        raise InterruptedError
    for _ in range(POOL):  # whichever connection it was, it is again as all are
        with suppress(InterruptedError), sessions.begin() as session:
            prioritise(session, 9)
            raise InterruptedError
        assert reload(sessions, export).priority == 7


def test_on_sqlite_statements_by_themselves_are_a_transaction(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/exports.db"
    write(url)
    with (
        sessions_on(url) as sessions,
        suppress(InterruptedError),
        autocommitted(sessions) as session,
    ):
        session.execute(text("DELETE FROM seen"))
        raise InterruptedError
    assert said(url, "SELECT count(*) FROM seen") == 1


@pytest.mark.services
def test_a_statement_by_itself_is_isolated_as_in_a_transaction(database_url: str) -> None:
    with connected(database_url) as connection:
        name = connection.scalar(text("SELECT current_database()"))
        default = "SET default_transaction_isolation = 'serializable'"
        connection.execute(text(f'ALTER DATABASE "{name}" {default}'))
    with sessions_on(database_url) as sessions:
        for begun in (autocommitted(sessions), sessions.begin()):
            with begun as session:
                assert session.scalar(text("SHOW transaction_isolation")) == "read committed"


def test_an_export_that_ends_in_no_transaction_is_an_error(sessions: Sessions) -> None:
    export, now = make_export(sessions, state=State.EXPORTING), datetime.now(UTC)
    with pytest.raises(RuntimeError, match="ends in a transaction"):  # noqa: SIM117
        with autocommitted(sessions) as session:
            session.get_one(Export, export.id).fail("export_error", "no", now=now)
    assert reload(sessions, export).state is State.EXPORTING


@pytest.mark.services
def test_a_connection_that_broke_in_the_pool_is_replaced(
    sessions: Sessions, database_url: str
) -> None:
    with sessions.begin() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
    assert said(database_url, f"SELECT pg_terminate_backend({pid}, 5000)") is True
    with sessions.begin() as session:
        assert session.scalar(text("SELECT pg_backend_pid()")) != pid


@pytest.mark.services
def test_a_statement_that_is_repeated_is_planned_for_its_own_values(sessions: Sessions) -> None:
    for _ in range(12):
        make_export(sessions, state=State.REQUESTED)
    with sessions.begin() as session:
        for _ in range(12):
            session.execute(text("SELECT :number + 1"), {"number": 1})
        assert session.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0


@pytest.mark.services
def test_a_statement_that_waits_too_long_for_a_lock_is_given_up(
    sessions: Sessions, database_url: str
) -> None:
    made = make_export(sessions, state=State.EXPORTING)
    with sessions.begin() as holder:
        holder.get_one(Export, made.id, with_for_update=True)
        with (
            pytest.raises(OperationalError, match="lock timeout"),
            connected(f"{database_url}?options=-c%20lock_timeout%3D100ms") as waiter,
        ):
            waiter.execute(text("UPDATE exports SET polls = 1"))
    assert polls(sessions, made.id) == 0
