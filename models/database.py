"""The database: engines that behave alike on PostgreSQL and on SQLite, and sessions on them."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session, sessionmaker

DEFAULT_URL = "sqlite:///var/uplynk-export.db"

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30  # no statement of a step takes one second; a longer one is stuck
LOCK_SECONDS = 10

# Rows are written in short transactions of one process at a time; a reader never waits (WAL).
_SQLITE_PRAGMAS = {
    "journal_mode": "WAL",
    "synchronous": "NORMAL",
    "foreign_keys": "ON",
    "busy_timeout": LOCK_SECONDS * 1000,
}


def open_engine(url: str, *, pool_size: int = 5) -> Engine:
    """Return an engine for `url`; nothing is connected yet.

    On SQLite each transaction begins as IMMEDIATE, so that what it read is still true when it
    writes, as under row locks on PostgreSQL; the file's folder is made if it is missing.

    Args:
        url: a SQLAlchemy URL of SQLite or PostgreSQL; `postgres://` and `postgresql://` mean
            psycopg 3.
        pool_size: connections that are kept open; twice as many may be open at once.
    """
    parsed = make_url(url)
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed.render_as_string(hide_password=False), parsed.database)
    return create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,  # an error would show what a CMS sent
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "uplynk-export",
            "options": f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={LOCK_SECONDS}s"
            f" -c idle_in_transaction_session_timeout={2 * STATEMENT_SECONDS}s",
        },
    )


def open_sessions(engine: Engine) -> sessionmaker[Session]:
    """Return the factory of sessions; what was loaded stays readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


def _open_sqlite(url: str, database: str | None) -> Engine:
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": LOCK_SECONDS}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401  (a DBAPI connection)
    connection.isolation_level = None  # the driver's own BEGIN would come too late: see below
    cursor = connection.cursor()
    for name, value in _SQLITE_PRAGMAS.items():
        cursor.execute(f"PRAGMA {name} = {value}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
