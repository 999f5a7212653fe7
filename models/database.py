"""The database: engines that behave alike on PostgreSQL and on SQLite, and sessions on them."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import POLLIN, poll
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import IntegrityError, InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from models import outbox
from models.base import Base
from models.claims import dialect_of
from models.export import forbid_ends

DEFAULT_URL = "sqlite:///var/uplynk-export.db"

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30  # no statement of a step takes one second; a longer one is stuck
LOCK_SECONDS = 10
# Between two statements of a transaction pass milliseconds. One that stands still for longer is of
# a process that does; it must let go before those fail that wait for its locks.
IDLE_SECONDS = 5
# A connection that was used so shortly ago is alive, if its server did not close it.
SURE_SECONDS = 1.0
_SWITCH_SECONDS = 0.02

# A server that vanished without a word is given up after 30 + 3 * 10 seconds, whether it owes us
# an answer or the receipt of what we sent; Linux would wait for hours, or for a quarter of one
# (libpq's manual, "keepalives" and "tcp_user_timeout").
_KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_OPTIONS = (
    f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={LOCK_SECONDS}s"
    f" -c idle_in_transaction_session_timeout={IDLE_SECONDS}s"
    # what waited for a lock must see what the holder did; a server may have another default
    r" -c default_transaction_isolation=read\ committed"
)

_READ_ONLY = "25006"  # read_only_sql_transaction (PostgreSQL's manual, appendix A)

_READS_ONLY = "reads_only"  # an execution option of ours
_LEFT_AT = "left_at"  # when a connection came back to the pool (monotonic clock)

_SQLITE_PRAGMAS = {
    # each commit is on the disk: that Uplynk was asked must outlive a power cut
    "synchronous": "FULL",
    "foreign_keys": "ON",
    "busy_timeout": LOCK_SECONDS * 1000,
}


def open_engine(url: str, *, pool_size: int = 5) -> Engine:
    """Return an engine for `url`; nothing is connected yet.

    On SQLite each transaction begins as IMMEDIATE, so that what it read is still true when it
    writes, as under row locks on PostgreSQL; the file's folder is made if it is missing.

    Args:
        url: a SQLAlchemy URL of SQLite or PostgreSQL; `postgres://` and `postgresql://` mean
            psycopg 3. What its query says to libpq goes before what is said here.
        pool_size: connections to PostgreSQL that are kept open; more are opened as they are needed.
    """
    parsed = make_url(url)
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed.render_as_string(hide_password=False), parsed.database)
    engine = create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=-1,  # as many as there are threads: none waits for a connection
        hide_parameters=True,  # an error would show what a CMS sent
        connect_args=_connect_args(parsed),
    )
    event.listen(engine, "handle_error", _leave_read_only)
    _ping_unsure(engine)
    return engine


def _ping_unsure(engine: Engine) -> None:
    """Have a connection that may be broken prove that it is not, before it is used.

    SQLAlchemy's own `pool_pre_ping` asks before each transaction, which costs as much as a
    statement. A server that closes a connection leaves something to be read, and one that is gone
    without a word was not there a moment ago.
    """

    def leave(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_LEFT_AT] = time.monotonic()

    def take(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:  # noqa: ANN401  (DBAPI's)
        left_at = record.info.get(_LEFT_AT)
        if left_at is None:  # it is new
            return
        if time.monotonic() - left_at < SURE_SECONDS and not _has_something_to_read(connection):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # what broke one broke the others, most likely

    event.listen(engine, "checkin", leave)
    event.listen(engine, "checkout", take)


def _has_something_to_read(connection: Any) -> bool:  # noqa: ANN401  (psycopg's)
    if connection.closed:
        return True
    waiting = poll()
    waiting.register(connection.fileno(), POLLIN)
    return bool(waiting.poll(0))


def _leave_read_only(context: ExceptionContext) -> None:
    """Have a connection that may only read closed, not kept: its server was made a standby, say.

    It would answer well for ever, and each write over it would fail.
    """
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def for_reading(engine: Engine) -> Engine:
    """Return the engine for who only reads: on SQLite that keeps no writer waiting."""
    return engine.execution_options(**{_READS_ONLY: True})


def open_sessions(engine: Engine) -> sessionmaker[Session]:
    """Return the factory of sessions; what was loaded stays readable after the commit.

    Whatever ends in them is told to those who want to know (see models/outbox.py).
    """
    sessions = sessionmaker(engine, expire_on_commit=False)
    outbox.attach(sessions)
    return sessions


@contextmanager
def autocommitted(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """Give a session whose every statement is a transaction of its own, on PostgreSQL.

    A BEGIN and a COMMIT go to the server and back as any statement does: for a lone statement they
    are two thirds of the way. So it is for what only reads, whose statements see no common state
    in a transaction either (READ COMMITTED), and for a lone statement that writes. No export may
    end in it of which somebody is to be told in the same transaction (see passage.end). On SQLite
    it is one as any other.
    """
    with sessions.begin() as session:
        forbid_ends(session)
        if dialect_of(session) == "postgresql":
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        yield session


def inserted(session: Session, row: Base) -> bool:
    """Return whether the row could be added; False where a unique index has one like it."""
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return False
    return True


def _connect_args(url: URL) -> dict[str, Any]:
    """Return what psycopg is told besides the URL, and never against it."""
    defaults = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "uplynk-export",
        # a plan that is kept for all values can't use a partial index, whose predicate it must
        # find among the values; and behind PgBouncer a prepared statement may be in another session
        "prepare_threshold": None,
        **_KEEPALIVE,
    }
    said = url.query.get("options", ())
    options = (said,) if isinstance(said, str) else said
    return {
        **{name: value for name, value in defaults.items() if name not in url.query},
        "options": " ".join((_OPTIONS, *options)),  # of two settings the last one counts
    }


def _open_sqlite(url: str, database: str | None) -> Engine:
    if database and database != ":memory:" and not database.startswith("file:"):
        with suppress(OSError):  # to connect says it better, and in SQLAlchemy's terms
            Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": LOCK_SECONDS}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401  (a DBAPI connection)
    connection.isolation_level = None  # the driver's own BEGIN would come too late: see below
    cursor = connection.cursor()
    _write_ahead(cursor)
    for name, value in _SQLITE_PRAGMAS.items():
        cursor.execute(f"PRAGMA {name} = {value}")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Have the file written ahead (WAL): somebody who only reads it never holds up the writer.

    The file is switched once, by whoever opens it first; where two do at once, SQLite tells one of
    them that it is locked without waiting as long as it was told to.
    """
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_SWITCH_SECONDS)
        else:
            return


def _begin_immediate(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS_ONLY)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
