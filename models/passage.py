"""Passage: an export goes on to its next state by one statement, if it is as it was claimed.

A step that came to what it is there for needs to know nothing of the row but that it is still its
own. So the row is not loaded, locked and written, as for all that ends otherwise (Export.advance):
its new columns and its row of history are written at once, under the claim. So on PostgreSQL it may
be a transaction by itself, also where an export ends of which nobody is to be told (`end`). But for
that nothing here commits.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, Update, and_, bindparam, func, insert, not_, select, update
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from models import claims
from models.database import autocommitted
from models.export import Export, leave_word
from models.history import HISTORY, History, adding
from models.insertion import insert_many
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
    names, new, noted = _new_and_noted(export, target, now, reason, {**values, "due_at": due_at})
    if claims.dialect_of(session) == "postgresql":
        both = _moved_and_noted(_moved(names, if_wanted=if_wanted))
        has_passed = session.execute(both, new | noted).first() is not None
    else:
        has_passed = session.execute(_moved(names, if_wanted=if_wanted), new).first() is not None
        if has_passed:
            session.execute(insert(HISTORY), {"export_id": export.id, **noted})
    if has_passed and target in TERMINAL:
        leave_word(session, export.id)
    return has_passed


def pass_on_together(
    session: Session,
    source: State,
    target: State,
    exports: Mapping[UUID, Mapping[str, Any]],
    *,
    now: datetime,
    reason: str,
) -> None:
    """Have the rows of these exports be in their next state, due at once; they are the caller's.

    Args:
        session: in a transaction that holds the locks of the exports, which are in nobody's hands.
        source: the state that they are in.
        target: their next state, which is not terminal.
        exports: of each its other columns that are new, by their names: the same names for all.
        now: since when they are in that state.
        reason: why they go on, for a person.

    Raises:
        TransitionError: the table of transitions has no such way.
    """
    if target not in TRANSITIONS[source] or target in TERMINAL:
        raise TransitionError(source, target)
    if not exports:
        return
    over = {**_OVER, "state": target, "state_since": now, "due_at": now}
    columns = {export_id: {**over, **values} for export_id, values in exports.items()}
    names = tuple(next(iter(columns.values())))
    session.execute(
        _each(names),
        [{"this": each} | _named_new(values) for each, values in columns.items()],
    )
    noted = {"at": now, "from_state": source, "to_state": target, "reason": reason}
    insert_many(session, History, [{"export_id": each, **noted} for each in columns])


def end(
    sessions: sessionmaker[Session],
    export: Export,
    target: State,
    *,
    now: datetime,
    reason: str,
    values: Mapping[str, Any],
) -> bool:
    """Have the row of an export whose step has done with it be in its last state, and commit.

    As `pass_on` in a transaction, and so it is done where somebody is to be told of its end. Where
    nobody is, as of most of a back catalogue, it is one statement on PostgreSQL. That sees whether
    somebody is only when it has the export's lock: who joins the export just then is waited for.
    """
    bind = sessions.kw["bind"]
    if bind.dialect.name == "postgresql":
        names, new, noted = _new_and_noted(export, target, now, reason, {**values, "due_at": None})
        with autocommitted(sessions) as session:
            ended = session.execute(_moved_and_noted(ended_unheard(names)), new | noted)
            if ended.first() is not None:
                return True
    with sessions.begin() as session:
        return pass_on(session, export, target, now=now, reason=reason, due_at=None, values=values)


def _new_and_noted(
    export: Export, target: State, now: datetime, reason: str, values: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]:
    """Return the names of the columns that are new, and what the statements are told of each table.

    Raises:
        TransitionError: the table of transitions has no such way.
    """
    if target not in TRANSITIONS[export.state]:
        raise TransitionError(export.state, target)
    columns = {**_OVER, "state": target, "state_since": now, **values}
    new = {"this": export.id, "token": export.claim, **_named_new(columns)}
    noted = {"at": now, "from_state": export.state, "to_state": target, "reason": reason}
    return tuple(columns), new, noted


_IS_THIS = and_(_EXPORTS.c.id == bindparam("this"), _EXPORTS.c.claim == bindparam("token"))


@lru_cache
def _moved(names: tuple[str, ...], *, if_wanted: bool) -> ReturningUpdate[tuple[UUID]]:
    moved = _moving(names).where(_IS_THIS)
    return moved.where(_EXPORTS.c.unwanted_since.is_(None)) if if_wanted else moved


@lru_cache
def ended_unheard(names: tuple[str, ...]) -> ReturningUpdate[tuple[UUID]]:
    """Return the statement that has these columns of an export be new if nobody is to be told.

    It is told `this` (the id), `token` (the claim), and each column by `new_` and its name.
    """
    # a CTE that locks rows is run by itself, and the function after it (see migration 0015); with a
    # weaker lock it would not wait for a request that is just being inserted
    mine = select(_EXPORTS.c.id).where(_IS_THIS).with_for_update().cte("mine")
    unheard = select(mine.c.id).where(not_(func.export_is_awaited(mine.c.id)))
    return _moving(names).where(_EXPORTS.c.id.in_(unheard))


@lru_cache
def _each(names: tuple[str, ...]) -> Update:
    return _setting(names).where(_EXPORTS.c.id == bindparam("this"))


def _moving(names: tuple[str, ...]) -> ReturningUpdate[tuple[UUID]]:
    return _setting(names).returning(_EXPORTS.c.id)


def _setting(names: tuple[str, ...]) -> Update:
    new: dict[str, Any] = {name: bindparam(_new(name)) for name in names}
    return update(_EXPORTS).values(new)


@lru_cache
def _moved_and_noted(moved: ReturningUpdate[tuple[UUID]]) -> ReturningInsert[tuple[int]]:
    return adding(moved.cte("moved")).returning(HISTORY.c.id)


def _named_new(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {_new(name): value for name, value in columns.items()}


def _new(name: str) -> str:
    """Return what a new value goes by: the name of its column is SQLAlchemy's own."""
    return f"new_{name}"
