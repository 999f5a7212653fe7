"""Figures: the SQL that counts what an account's exports are at. Nothing here changes anything."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from models.claims import in_state
from models.export import IS_WITHOUT_FILE, Export
from models.history import History
from models.notification import Notification
from models.state import UNDER_WAY, State


@dataclass(frozen=True, slots=True)
class Standing:
    """The exports that are in one state.

    Attributes:
        count: how many.
        failing: of how many of them the present step failed when it was last taken.
        since: since when the one is that has been for longest.
        due_at: when the first of their steps that may be taken is, or was, due.
    """

    count: int = 0
    failing: int = 0
    since: datetime | None = None
    due_at: datetime | None = None


def under_way(
    session: Session, *, account: str, paused: Collection[str] = ()
) -> Mapping[State, Standing]:
    """Return what stands in each state that has a next step.

    What is `requested` by who is `paused` counts, but is not due.
    """
    is_paused = (Export.state == State.REQUESTED) & Export.requester.in_(paused)
    rows = session.execute(
        select(
            Export.state,
            func.count(),
            func.sum(case((Export.attempts > 0, 1), else_=0)),
            func.min(Export.state_since),
            func.min(case((is_paused, None), else_=Export.due_at) if paused else Export.due_at),
        )
        .where(
            Export.state.in_(sorted(UNDER_WAY)),
            Export.due_at.is_not(None),  # true of them all; by it ix_exports_due serves
            Export.account == account,
        )
        .group_by(Export.state)
    )
    found = {state: Standing(*figures) for state, *figures in rows}
    return {state: found.get(state, Standing()) for state in State if state in UNDER_WAY}


def ended(session: Session, *, account: str) -> Mapping[State, int]:
    """Return how many exports have ended in each way, of all that are on record.

    It goes through all their entries in two indexes, so ask seldom.
    """
    stored = select(func.count()).where(in_state(State.STORED), Export.account == account)
    number, others, failed = session.execute(
        select(
            stored.scalar_subquery(),
            func.count(),
            func.sum(case((Export.state == State.FAILED, 1), else_=0)),
        ).where(IS_WITHOUT_FILE, Export.account == account)
    ).one()
    failed = failed or 0
    return {State.STORED: number, State.FAILED: failed, State.CANCELLED: others - failed}


def stored_bytes_since(session: Session, since: datetime, *, account: str) -> int:
    """Return how many bytes the films have together that were stored since then."""
    total = session.scalar(
        select(func.sum(Export.size_bytes)).where(
            in_state(State.STORED), Export.state_since > since, Export.account == account
        )
    )
    return int(total or 0)


def failed_since(session: Session, since: datetime, *, account: str) -> Mapping[str, int]:
    """Return, by code, how many exports failed since then."""
    rows = session.execute(
        select(Export.error_code, func.count())
        .where(
            IS_WITHOUT_FILE,
            Export.account == account,
            Export.state_since > since,
            Export.state == State.FAILED,
        )
        .group_by(Export.error_code)
    )
    return {code or "unknown": number for code, number in rows}


def being_brought(session: Session, *, account: str, now: datetime) -> tuple[int, float]:
    """Return how many films are being brought just now, and at how many bytes a second."""
    number, rate = session.execute(
        select(func.count(), func.sum(Export.bytes_per_second)).where(
            in_state(State.DOWNLOADING),
            Export.account == account,
            Export.claim.is_not(None),
            Export.claimed_until > now,
            Export.due_at > now,  # the same time; by it ix_exports_due serves
        )
    ).one()
    return number, float(rate or 0)


def last_stored(session: Session, since: datetime, *, account: str, limit: int) -> Sequence[UUID]:
    """Return the last exports that were stored since then, up to `limit`."""
    return session.scalars(
        select(Export.id)
        .where(in_state(State.STORED), Export.state_since > since, Export.account == account)
        .order_by(Export.state_since.desc())
        .limit(limit)
    ).all()


def seconds_by_state(
    session: Session, export_ids: Sequence[UUID]
) -> Mapping[State, Sequence[float]]:
    """Return, by state, how many seconds each of these spent in it, in ascending order.

    That is of those that were in it and have left it, as far as they have a history.
    """
    rows = session.execute(
        select(History.export_id, History.to_state, History.at)
        .where(History.export_id.in_(export_ids))
        .order_by(History.export_id, History.id)
    ).all()
    spent: dict[tuple[UUID, State], float] = {}
    for (export_id, state, at), (next_id, _, left_at) in pairwise(rows):
        if export_id == next_id:
            key = export_id, state
            spent[key] = spent.get(key, 0.0) + (left_at - at).total_seconds()
    found: dict[State, list[float]] = {}
    for (_, state), seconds in spent.items():
        found.setdefault(state, []).append(seconds)
    return {state: sorted(found[state]) for state in State if state in found}


@dataclass(frozen=True, slots=True)
class Pending:
    """The notifications that are not delivered yet, of all accounts.

    Attributes:
        count: how many.
        since: when the oldest of them was made.
    """

    count: int = 0
    since: datetime | None = None


def pending(session: Session) -> Pending:
    """Return what is still to be told to somebody."""
    found = session.execute(
        select(func.count(), func.min(Notification.created_at)).where(
            Notification.due_at.is_not(None)
        )
    ).one()
    return Pending(*found)


def given_up(session: Session) -> int:
    """Return how many notifications were given up, of all accounts."""
    return session.scalar(select(func.count()).where(Notification.dead_at.is_not(None))) or 0
