"""Admission: the SQL that says which exports Uplynk is asked for next.

The highest priority comes first; within it requesters take turns, however many exports each of them
wants; and of a requester's the one that has been due for longest. Those of whom it is paused are
left out. Several may be admitted together: they are those that would be one after the other.
Nothing here commits.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    true,
)
from sqlalchemy.orm import FromStatement, Session
from sqlalchemy.sql.dml import ReturningUpdate

from models import claims
from models.claims import IS_DUE, IS_OF_ACCOUNT, dialect_of, in_state, usual
from models.database import inserted
from models.export import Export
from models.history import HISTORY, adding
from models.pause import EVERYBODY, Pause
from models.request import Request
from models.state import State
from models.turn import Turn
from models.turns import ALL_SERVED, SERVED, enter

# An arbitrary number that names the lock under which exports are admitted to the window.
_LOCK = 0x75706C79

# What Uplynk has, or may have: the exports that the window counts.
IN_THE_WINDOW = frozenset({State.SUBMITTING, State.EXPORTING})

_IS_OF_PRIORITY = Export.priority == bindparam("priority")

# A requester, and an export that it wants.
Chosen = tuple[str, UUID]

_PAUSED = select(Pause.requester).where(Pause.account == bindparam("of"))


@dataclass(frozen=True, slots=True)
class Outlook:
    """How full the window is, and what is next.

    Attributes:
        taken: how many exports are under way at Uplynk, or may be.
        chosen: whose turn it is, and the export that is to be asked for; then whose turn it is
            after that, and so on. Empty if nothing is due, or only what is paused.
    """

    taken: int
    chosen: tuple[Chosen, ...] = ()


@lru_cache
def _highest(dialect: str, *, is_below: bool) -> Select[int]:
    rows = select(Export.priority).where(*_is_due(dialect))
    if is_below:
        rows = rows.where(Export.priority < bindparam("below"))
    return rows.order_by(Export.priority.desc()).limit(1)


@lru_cache
def _outlook(dialect: str, most: int) -> Select[Any]:
    """Return the query for an Outlook, if nobody is paused, and what shows whether it holds."""
    highest = _highest(dialect, is_below=False).correlate(None).scalar_subquery()
    is_of_highest = Export.priority == highest
    if most == 1:
        turn = _turn(dialect, is_of_highest, some_are_paused=False).subquery("turn")
    else:
        turn = _turns(dialect, is_of_highest, most).subquery("turn")
    sight = select(
        claims.counted(IN_THE_WINDOW, of_all=False).scalar_subquery().label("taken"),
        highest.label("priority"),
        select(Pause).where(Pause.account == bindparam("of")).exists().label("some_are_paused"),
    ).subquery("sight")
    rows = select(sight, turn).select_from(sight.outerjoin(turn, true()))
    return rows if most == 1 else rows.order_by(turn.c.nth, turn.c.served, turn.c.requester)


@lru_cache
def _in_turn(dialect: str, *, some_are_paused: bool) -> Select[str, UUID]:
    return _turn(dialect, _IS_OF_PRIORITY, some_are_paused=some_are_paused)


def _turn(
    dialect: str, is_of_priority: ColumnElement[bool], *, some_are_paused: bool
) -> Select[str, UUID]:
    # one probe of the index for each who has nothing due, until the first who has; as a join the
    # planner might read all that is due
    mine = (
        select(Export.id)
        .where(*_is_due(dialect), is_of_priority, Export.requester == Turn.requester)
        .order_by(Export.due_at)
        .limit(1)
    )
    probe = mine.correlate(Turn).scalar_subquery().label("export_id")
    rows = select(Turn.requester, probe).where(Turn.account == bindparam("of"), probe.is_not(None))
    if some_are_paused:
        rows = rows.where(Turn.requester.not_in(bindparam("paused", expanding=True)))
    return rows.order_by(Turn.served, Turn.requester).limit(1)


def _turns(
    dialect: str, is_of_priority: ColumnElement[bool], most: int
) -> Select[int, int, str, UUID]:
    """Return the query for whose turn it is, and whose then; `nth` says in which round.

    Each of those who have something due is served once before anybody is served again.
    """
    one = _turn(dialect, is_of_priority, some_are_paused=False)
    first = one.add_columns(Turn.served).limit(most).subquery("first")
    mine = (
        select(Export.id, func.row_number().over(order_by=Export.due_at).label("nth"))
        .where(*_is_due(dialect), is_of_priority, Export.requester == first.c.requester)
        .order_by(Export.due_at)
        .limit(most)
        .lateral("mine")
    )
    return (
        select(mine.c.nth, first.c.served, first.c.requester, mine.c.id.label("export_id"))
        .select_from(first.join(mine, true()))
        .order_by(mine.c.nth, first.c.served, first.c.requester)
        .limit(most)
    )


@lru_cache
def _newcomer(dialect: str, *, is_after: bool) -> Select[str]:
    rows = select(Export.requester).where(*_is_due(dialect), _IS_OF_PRIORITY)
    if is_after:
        rows = rows.where(Export.requester > bindparam("after"))
    return rows.order_by(Export.requester).limit(1)


def _is_due(dialect: str) -> tuple[ColumnElement[bool], ...]:
    is_due = usual(dialect, IS_DUE)
    return (in_state(State.REQUESTED), IS_OF_ACCOUNT, is_due)


def lock(session: Session) -> None:
    """Let one transaction at a time count the window and take a place in it."""
    if dialect_of(session) == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def outlook(session: Session, *, account: str, now: datetime, most: int = 1) -> Outlook:
    """Return how full the window is, and what is to be asked for next.

    To be called under the lock; it is of use as long as that is held.

    Args:
        session: in a transaction.
        account: whose exports they are.
        now: the time.
        most: of so many it is told at the most: of as many as the highest priority has, and of one
            where somebody is paused, or on SQLite.
    """
    dialect = dialect_of(session)
    rows = session.execute(
        _outlook(dialect, most if dialect == "postgresql" else 1), {"of": account, "now": now}
    ).all()
    seen = rows[0]
    if not seen.some_are_paused and (seen.priority is None or seen.export_id is not None):
        chosen = [(row.requester, row.export_id) for row in rows if row.export_id is not None]
        return Outlook(seen.taken, tuple(chosen))
    paused = who_is_paused(session, account) if seen.some_are_paused else frozenset()
    priority = None if EVERYBODY in paused else seen.priority
    while priority is not None:
        if one := _chosen(session, account, now, priority, paused):
            return Outlook(seen.taken, (one,))
        priority = highest(session, account, now, below=priority)
    return Outlook(seen.taken)


def admit(
    session: Session,
    chosen: Sequence[Chosen],
    *,
    account: str,
    now: datetime,
    until: datetime,
) -> list[Export]:
    """Claim the exports, have them be `submitting`, and the turns of their requesters be over.

    They come in the order that they were given in, without those that somebody else is just at. To
    be called under the lock. All share one claim.

    Args:
        session: in a transaction.
        chosen: what `outlook` has just told; of several only on PostgreSQL.
        account: whose exports they are.
        now: the time.
        until: when the claim runs out.
    """
    if not chosen:
        return []
    noted = {
        "at": now,
        "from_state": State.REQUESTED,
        "to_state": State.SUBMITTING,
        "reason": "about to ask Uplynk for it",
    }
    requesters = [requester for requester, _ in chosen]
    export_ids = [export_id for _, export_id in chosen]
    # the one who was served last is the last one to come again
    served = {"of": account, "by": list(dict.fromkeys(reversed(requesters)))[::-1]}
    claimed = {"these": export_ids, "now": now, "until": until, "token": uuid4()}
    if dialect_of(session) == "postgresql":
        admitted = session.scalars(_admitted(), claimed | noted | served)
        exports = {export.id: export for export in admitted}
        return [exports[export_id] for export_id in export_ids if export_id in exports]
    session.execute(SERVED, {"of": account, "by": requesters[0]})
    begun = list(session.scalars(_begun(), claimed))
    for export in begun:
        session.execute(insert(HISTORY), {"export_id": export.id, **noted})
    return begun


@lru_cache
def _admitted() -> FromStatement[Export]:
    begun, chosen = _beginning()
    return claims.loading(begun.add_cte(adding(chosen).cte("noted"), ALL_SERVED.cte("served")))


@lru_cache
def _begun() -> FromStatement[Export]:
    return claims.loading(_beginning()[0])


def _beginning() -> tuple[ReturningUpdate[Any], CTE]:
    claiming, chosen = claims.claiming(State.REQUESTED)
    begun = claiming.values(
        state=State.SUBMITTING,
        state_since=bindparam("now"),
        looks=0,
        asked_at=func.coalesce(Export.asked_at, bindparam("now")),
        begun_at=func.coalesce(Export.begun_at, bindparam("now")),
    )
    return begun, chosen


def _chosen(
    session: Session, account: str, now: datetime, priority: int, paused: frozenset[str]
) -> Chosen | None:
    """Return the requester whose turn it is, and the export, of those of one priority."""
    if chosen := in_turn(session, account, now, priority, paused=paused):
        return chosen
    # only of those who are paused, or were asked for by a release that knew of no turns
    values = {"of": account, "now": now, "priority": priority}
    dialect = dialect_of(session)
    newcomer = session.scalar(_newcomer(dialect, is_after=False), values)
    while newcomer is not None and newcomer in paused:
        values["after"] = newcomer
        newcomer = session.scalar(_newcomer(dialect, is_after=True), values)
    if newcomer is None:
        return None
    enter(session, account, newcomer)
    return in_turn(session, account, now, priority, paused=paused)


def pause(session: Session, *, account: str, requester: str, now: datetime) -> bool:
    """Have nothing more asked for; returns False if it is so already.

    Who is just about to ask is waited for: after the commit nobody begins. What others want as well
    is theirs from now on.
    """
    lock(session)
    if session.get(Pause, (account, requester)) is not None:
        return False
    if not inserted(session, Pause(account=account, requester=requester, since=now)):
        return False
    _hand_over(session, account, requester)
    return True


def _hand_over(session: Session, account: str, requester: str) -> None:
    """Have what waits for this one, and not for it alone, wait for others who are not paused."""
    paused = who_is_paused(session, account)
    other = (
        select(Request.requester)
        .where(
            Request.export_id == Export.id,
            Request.cancelled_at.is_(None),
            Request.requester.not_in(paused),
        )
        .order_by(Request.priority.desc(), Request.created_at)
        .limit(1)
        .scalar_subquery()
    )
    # what Uplynk is just asked for may never be heard there, and is then asked for again
    for state in (State.REQUESTED, State.SUBMITTING):
        is_its = (
            in_state(state),
            Export.due_at.is_not(None),  # true of them all; by it ix_exports_due serves
            Export.account == account,
            Export.requester == requester,
        )
        rows = select(Export).where(*is_its, other.is_not(None))
        rows = rows.order_by(Export.asset, Export.audio)
        for export in session.scalars(rows.with_for_update()).all():
            export.requester = session.scalars(select(other).where(Export.id == export.id)).one()
            enter(session, account, export.requester)


def resume(session: Session, *, account: str, requester: str) -> bool:
    """Have what was paused asked for again; returns False if it was not paused."""
    rows = delete(Pause).where(Pause.account == account, Pause.requester == requester)
    return session.scalar(rows.returning(Pause.requester)) is not None


def who_is_paused(session: Session, account: str) -> frozenset[str]:
    """Return the requesters of whom nothing is asked for, or EVERYBODY, for now."""
    return frozenset(session.scalars(_PAUSED, {"of": account}))


def highest(
    session: Session, account: str, now: datetime, *, below: int | None = None
) -> int | None:
    """Return the highest priority of what is due, below another if that is given."""
    rows = _highest(dialect_of(session), is_below=below is not None)
    return session.scalar(rows, {"of": account, "now": now, "below": below})


def in_turn(
    session: Session,
    account: str,
    now: datetime,
    priority: int,
    *,
    paused: Collection[str] = (),
) -> Chosen | None:
    """Return the requester whose turn it is, and the export that it is about; None for none."""
    rows = _in_turn(dialect_of(session), some_are_paused=bool(paused))
    values = {"of": account, "now": now, "priority": priority, "paused": list(paused)}
    found = session.execute(rows, values).one_or_none()
    return (found[0], found[1]) if found else None
