"""Passage: an export goes on to its next state by one statement, if it is as it was claimed.

A step that came to what it is there for needs to know nothing of the row but that it is still its
own. So the row is not loaded, locked and written, as for all that ends otherwise (Export.advance):
its new columns and its row of history are written at once, under the claim. So on PostgreSQL it may
be a transaction by itself, but where the export ends. Nothing here commits.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, bindparam, insert, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from models import claims
from models.export import Export, leave_word
from models.history import HISTORY, adding
from models.state import TERMINAL, TRANSITIONS, State, TransitionError

_EXPORTS = cast("Table", Export.__table__)

# The claim is given back, and the failures in a row are forgotten: the step did what it is for.
_OVER: Mapping[str, Any] = MappingProxyType(
    {"claim": None, "claimed_until": None, "attempts": 0, "failing_since": None}
)


def pass_on(
    session: Session,
    export: Export,
    target: State,
    *,
    now: datetime,
    reason: str,
    due_at: datetime | None,
    if_wanted: bool = False,
    values: Mapping[str, Any],
) -> bool:
    """Have the row of an export that its step has done with be in its next state.

    Returns False, and nothing is written, where it is no longer as it was claimed: somebody else
    took over, or (`if_wanted`) no request wants it any more. `export` stays as it is.

    Args:
        session: in a transaction; `autocommitted` will do if `target` is not terminal.
        export: as it was claimed.
        target: its next state; if that is terminal, its requests are told.
        now: since when it is in that state.
        reason: why it goes on, for a person.
        due_at: when its next step is due; None if it has ended.
        if_wanted: whether it is to stay as it is if no request wants it any more.
        values: its other columns that are new, by their names.

    Raises:
        TransitionError: the table of transitions has no such way.
    """
    if target not in TRANSITIONS[export.state]:
        raise TransitionError(export.state, target)
    begun = {"state": target, "state_since": now, "due_at": due_at}
    columns = {**_OVER, **begun, **values}
    noted = {"at": now, "from_state": export.state, "to_state": target, "reason": reason}
    parameters = {"this": export.id, "token": export.claim}
    parameters |= {_new(name): value for name, value in columns.items()}
    names = tuple(columns)
    if claims.dialect_of(session) == "postgresql":
        both = _moved_and_noted(names, if_wanted=if_wanted)
        has_passed = session.execute(both, parameters | noted).first() is not None
    else:
        has_passed = (
            session.execute(_moved(names, if_wanted=if_wanted), parameters).first() is not None
        )
        if has_passed:
            session.execute(insert(HISTORY), {"export_id": export.id, **noted})
    if has_passed and target in TERMINAL:
        leave_word(session, export.id)
    return has_passed


@lru_cache
def _moved(names: tuple[str, ...], *, if_wanted: bool) -> ReturningUpdate[tuple[UUID]]:
    columns = _EXPORTS.c
    moved = update(_EXPORTS).where(
        columns.id == bindparam("this"), columns.claim == bindparam("token")
    )
    if if_wanted:
        moved = moved.where(columns.unwanted_since.is_(None))
    return moved.values({name: bindparam(_new(name)) for name in names}).returning(columns.id)


@lru_cache
def _moved_and_noted(names: tuple[str, ...], *, if_wanted: bool) -> ReturningInsert[tuple[int]]:
    moved = _moved(names, if_wanted=if_wanted).cte("moved")
    return adding(moved).returning(HISTORY.c.id)


def _new(name: str) -> str:
    """Return what a new value goes by: the name of its column is SQLAlchemy's own."""
    return f"new_{name}"
