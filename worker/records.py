"""Records: what is remembered of requests, for a person who asks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from models import History, Request
from models.database import for_reading, open_engine, open_sessions
from worker.clock import Clock
from worker.settings import ClientSettings


@contextmanager
def opened(
    settings: ClientSettings, *, reads: bool = False
) -> Iterator[tuple[sessionmaker[Session], Clock]]:
    """Give sessions on the settings' database and its clock, for as long as the context lasts.

    Those of who only `reads` keep nobody waiting.
    """
    engine = open_engine(settings.database_url)
    try:
        yield open_sessions(for_reading(engine) if reads else engine), Clock(engine)
    finally:
        engine.dispose()


@contextmanager
def reading(settings: ClientSettings) -> Iterator[Session]:
    """Give a session to read in, for as long as the context lasts."""
    with opened(settings, reads=True) as (sessions, _), sessions.begin() as session:
        yield session


def found(session: Session, name: str) -> Request | None:
    """Return the request whose id, or whose export's id, is `name`."""
    if request := session.get(Request, name):
        return request
    try:
        export_id = UUID(name)
    except ValueError:
        return None
    return session.scalars(select(Request).where(Request.export_id == export_id)).first()


def history(session: Session, request: Request) -> Sequence[History]:
    """Return the changes of state of the request's export, the first first."""
    return session.scalars(request.export.history.select()).all() if request.export else []
