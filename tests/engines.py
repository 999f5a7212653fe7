"""Engines of a test's own, as another process would have: closed whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.orm import Session, sessionmaker

from models.database import open_engine, open_sessions


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """Give an engine; afterwards none of its connections is open."""
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def sessions_on(url: str) -> Iterator[sessionmaker[Session]]:
    """Give the factory of sessions on an engine of their own."""
    with opened(url) as engine:
        yield open_sessions(engine)


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Give a connection in a transaction, which is committed at the end."""
    with opened(url) as engine, engine.begin() as connection:
        yield connection


def blocked(sessions: sessionmaker[Session]) -> int:
    """Return how many transactions of this database wait for a lock."""
    with sessions.begin() as session:
        return (
            session.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )
            or 0
        )


@contextmanager
def sent(sessions: sessionmaker[Session]) -> Iterator[list[bool]]:
    """Give the list in which, of each statement, it is set down whether it is a transaction alone.

    On PostgreSQL.
    """
    statements: list[bool] = []

    def hear(connection: Connection, *_: object) -> None:
        driver: Any = connection.connection.driver_connection
        statements.append(driver.autocommit)

    engine = sessions.kw["bind"]
    event.listen(engine, "before_cursor_execute", hear)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", hear)


class Lent:
    """An engine that is lent to one test after the other, for databases of the same tables.

    What it has compiled for the first of them serves them all; that takes longer than to run it.

    Attributes:
        engine: connects to the database that was named last.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self._database: str | None = None
        event.listen(self.engine, "do_connect", self._connect)

    @contextmanager
    def to(self, url: str) -> Iterator[sessionmaker[Session]]:
        """Give the factory of sessions on this database; afterwards no connection is open."""
        self._database = make_url(url).database
        try:
            yield open_sessions(self.engine)
        finally:
            self._database = None
            self.engine.dispose()

    def _connect(
        self, _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
    ) -> None:
        assert self._database is not None, "whoever connects now is left of a test that has ended"
        if self.engine.dialect.name == "sqlite":
            arguments[0] = self._database
        else:
            options["dbname"] = self._database
