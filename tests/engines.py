"""Engines of a test's own, as another process would have: closed whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
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
