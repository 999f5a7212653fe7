"""Pruning: the SQL by which what is old is found, the oldest first, and deleted.

All of it goes by indexes, so that it costs by what is deleted and not by what there is. An export's
lock comes before those of its requests, as everywhere. Nothing here commits.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, TextClause, delete, literal, select
from sqlalchemy.orm import Session

from models.claims import dialect_of, in_state, usual
from models.export import IS_WITHOUT_FILE, Export
from models.history import History
from models.notification import Notification
from models.request import Request
from models.state import TERMINAL, State

# The ways of ending, each in the words of its index by age.
ENDED: tuple[ColumnElement[bool] | TextClause, ...] = (in_state(State.STORED), IS_WITHOUT_FILE)


@dataclass(frozen=True, slots=True)
class Aged:
    """The id of a row, and the time by which it is as old as it is."""

    id: Any
    at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where one has come in rows that are ordered by age: at `at`, behind so many of that time."""

    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    passed: int = 0

    def behind(self, kept: Sequence[Aged]) -> "Place":
        """Return the place behind these rows, which stay where they are."""
        if not kept:
            return self
        last = kept[-1].at
        same = sum(row.at == last for row in kept)
        return Place(last, same + (self.passed if last == self.at else 0))


def is_free(*, keeps_jobs: bool) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions on which an export that has ended may go; see `remove_exports`."""
    # a scalar, not EXISTS: as a join the planner might read all that has ended, and sort it
    to_tell = (
        select(literal(1))
        .select_from(Request)
        .join(Notification, Notification.request_id == Request.id)
        .where(Request.export_id == Export.id, Notification.due_at.is_not(None))
        .limit(1)
        .scalar_subquery()
    )
    its_job_stays = (Export.job_delete_at.is_(None),) if keeps_jobs else ()
    return (Export.captions_due_at.is_(None), to_tell.is_(None), *its_job_stays)


def old_exports(
    session: Session,
    place: Place,
    *,
    ended: ColumnElement[bool] | TextClause,
    account: str,
    before: datetime,
    limit: int,
    only: Collection[ColumnElement[bool]] = (),
) -> Sequence[Aged]:
    """Return exports that ended in this way before then, the first first; `only` such as are so."""
    rows = session.execute(
        select(Export.id, Export.state_since)
        .where(
            ended,
            Export.account == account,
            Export.state_since >= place.at,
            Export.state_since < before,
            *only,
        )
        .order_by(Export.state_since)
        .offset(place.passed)
        .limit(limit)
    )
    return [Aged(*row) for row in rows]


def old_requests(session: Session, place: Place, *, before: datetime, limit: int) -> Sequence[Aged]:
    """Return requests that came before then, never had an export and have nothing to tell."""
    to_tell = (
        select(literal(1))
        .where(Notification.request_id == Request.id, Notification.due_at.is_not(None))
        .limit(1)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Request.id, Request.created_at)
        .where(
            # most are not: without the hint SQLite would take ix_requests_of_export, and sort
            usual(dialect_of(session), Request.export_id.is_(None)),
            Request.created_at >= place.at,
            Request.created_at < before,
            to_tell.is_(None),
        )
        .order_by(Request.created_at)
        .offset(place.passed)
        .limit(limit)
    )
    return [Aged(*row) for row in rows]


def remove_exports(
    session: Session, ids: Collection[UUID], *, before: datetime, keeps_jobs: bool
) -> set[UUID]:
    """Delete those of the exports that may go, with their requests, history and notifications.

    An export stays that has not ended, or not before then; that somebody is just at; whose captions
    are still to be asked for; one of whose notifications is not delivered; and, if so it
    `keeps_jobs`, whose job is still to be taken off Uplynk's list.

    Returns:
        The ids of those that are gone.
    """
    rows = session.execute(
        # their states are compared here: said in the query, with old statistics, they would have
        # the planner read all that has ended
        select(
            Export.id,
            Export.state,
            Export.state_since,
            Export.captions_due_at,
            Export.job_delete_at,
        )
        .where(Export.id.in_(ids))
        .with_for_update(skip_locked=True)
    )
    free = {
        row.id
        for row in rows
        if row.state in TERMINAL
        and row.state_since < before
        and row.captions_due_at is None
        and not (keeps_jobs and row.job_delete_at is not None)
    }
    theirs = session.execute(
        select(Request.id, Request.export_id).where(Request.export_id.in_(free))
    ).all()
    waiting = _with_something_to_tell(session, [row.id for row in theirs])
    free -= {row.export_id for row in theirs if row.id in waiting}
    _remove_requests(session, [row.id for row in theirs if row.export_id in free])
    session.execute(delete(History).where(History.export_id.in_(free)))
    session.execute(
        delete(Export).where(Export.id.in_(free)).execution_options(synchronize_session=False)
    )
    return free


def remove_requests(session: Session, ids: Collection[str]) -> set[str]:
    """Delete those of the requests that have no export and nothing to tell; returns their ids."""
    rows = select(Request.id, Request.export_id).where(Request.id.in_(ids))
    locked = session.execute(rows.with_for_update(skip_locked=True)).all()
    free = {row.id for row in locked if row.export_id is None}
    free -= _with_something_to_tell(session, free)
    _remove_requests(session, free)
    return free


def remove_history(session: Session, ids: Collection[UUID], *, before: datetime) -> int:
    """Delete the history of those of the exports that ended before then; returns how many rows.

    Who takes one up again meanwhile is waited for: its history stays.
    """
    rows = session.execute(
        select(Export.id, Export.state, Export.state_since)
        .where(Export.id.in_(ids))
        .order_by(Export.id)
        .with_for_update()
    )
    ended = [row.id for row in rows if row.state in TERMINAL and row.state_since < before]
    gone = session.execute(
        delete(History).where(History.export_id.in_(ended)).returning(History.id)
    )
    return len(gone.all())


def _with_something_to_tell(session: Session, ids: Collection[str]) -> set[str]:
    undelivered = select(Notification.request_id).where(
        Notification.request_id.in_(ids), Notification.due_at.is_not(None)
    )
    return set(session.scalars(undelivered))


def _remove_requests(session: Session, ids: Collection[str]) -> None:
    session.execute(delete(Notification).where(Notification.request_id.in_(ids)))
    session.execute(
        delete(Request).where(Request.id.in_(ids)).execution_options(synchronize_session=False)
    )
