"""Admission: the SQL that says which export Uplynk is asked for next.

The highest priority comes first; within it requesters take turns, however many exports each of them
wants; and of a requester's the one that has been due for longest. Nothing here commits.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, text, update
from sqlalchemy.orm import Session

from models.claims import in_state, usual
from models.database import inserted
from models.export import Export
from models.state import State
from models.turn import Turn

# An arbitrary number that names the lock under which exports are admitted to the window.
_LOCK = 0x75706C79


def lock(session: Session) -> None:
    """Let one transaction at a time count the window and take a place in it."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def enter(session: Session, account: str, requester: str) -> None:
    """Have the requester take turns with the others, from now on, if it doesn't yet."""
    if session.get(Turn, (account, requester)) is None:
        inserted(session, Turn(account=account, requester=requester, served=0))


def next_one(session: Session, *, account: str, now: datetime) -> UUID | None:
    """Return the export that is to be asked for next, or None if none is due.

    Its requester's turn is over by that. To be called under the lock.
    """
    found = session.execute(first(session, account, now)).one_or_none()
    if found is None:
        return None
    priority, requester = found
    export_id: UUID | None = None
    if served := session.execute(in_turn(session, account, now, priority)).one_or_none():
        requester, export_id = served
    else:  # it was asked for by a release that knew of no turns
        enter(session, account, requester)
        its = _oldest(session, account, now, priority).where(Export.requester == requester)
        export_id = session.scalar(its)
    last = select(func.max(Turn.served)).where(Turn.account == account).scalar_subquery()
    session.execute(
        update(Turn)
        .where(Turn.account == account, Turn.requester == requester)
        .values(served=last + 1)
        .execution_options(synchronize_session=False)
    )
    return export_id


def first(session: Session, account: str, now: datetime) -> Select[int, str]:
    """Return the query for the highest priority of what is due, and for a requester who has it."""
    return (
        select(Export.priority, Export.requester)
        .where(*_is_due(session, account, now))
        .order_by(Export.priority.desc())
        .limit(1)
    )


def in_turn(session: Session, account: str, now: datetime, priority: int) -> Select[str, UUID]:
    """Return the query for the requester whose turn it is, and for the export that it is about."""
    # one probe of the index for each who has nothing due, until the first who has; as a join the
    # planner might read all that is due
    mine = _oldest(session, account, now, priority).where(Export.requester == Turn.requester)
    probe = mine.correlate(Turn).scalar_subquery()
    return (
        select(Turn.requester, probe)
        .where(Turn.account == account, probe.is_not(None))
        .order_by(Turn.served, Turn.requester)
        .limit(1)
    )


def _oldest(session: Session, account: str, now: datetime, priority: int) -> Select[UUID]:
    is_next = (*_is_due(session, account, now), Export.priority == priority)
    return select(Export.id).where(*is_next).order_by(Export.due_at).limit(1)


def _is_due(session: Session, account: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    is_due = usual(session, Export.due_at <= now)
    return (in_state(State.REQUESTED), Export.account == account, is_due)
