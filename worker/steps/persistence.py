"""Persistence: what a call brought is set down, also where the database is just away."""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.orm import Session

from models import Export, claims
from worker.logs import get_logger
from worker.steps.kit import Kit

# A database that restarts is back by then. Nobody else can take over without it either.
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.5

_T = TypeVar("_T")

_log = get_logger(__name__)


def persist(kit: Kit, record: Callable[[], _T]) -> _T:
    """Return what `record` returns; it is called again while the database can't be written to.

    The answer of Uplynk, or the file that was stored, is known to this process only: to drop it
    would cost a search through Uplynk's list, or the whole download again. What `record` writes is
    under a claim, so that to repeat it does no harm.

    Raises:
        OperationalError, InternalError: the database is away for too long, or the worker stops.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return record()
        # the second is what PostgreSQL says while it is read-only
        except (OperationalError, InternalError):
            if time.monotonic() > end or kit.stopping():
                raise
            _log.warning("outcome not recorded yet: database unavailable")
            time.sleep(PAUSE_SECONDS)


def still_held(session: Session, export: Export) -> Export | None:
    """Return the export as `claims.held` does; that somebody else took over is said in the log."""
    held = claims.held(session, export.id, export.claim)
    if held is None:
        tell_dropped(export)
    return held


def tell_dropped(export: Export) -> None:
    """Log that what a step came to is not set down: the export is another's by now."""
    _log.warning("outcome dropped", state=str(export.state))
