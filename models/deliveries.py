"""Deliveries: the SQL by which notifications are taken and held.

A claim is as that of an export (see models/claims.py). Those of one request go by each way in their
order: one is not taken before those ahead of it are delivered or given up. Nothing here commits.
"""

from datetime import datetime
from uuid import uuid4

from sqlalchemy import ColumnElement, literal, select, update
from sqlalchemy.orm import Session, aliased

from models.notification import Notification


def receivers(session: Session, *, now: datetime) -> list[str]:
    """Return those for whom something is due."""
    return list(
        session.scalars(select(Notification.receiver).where(Notification.due_at <= now).distinct())
    )


def take(
    session: Session, receiver: str, *, now: datetime, until: datetime, limit: int
) -> list[Notification]:
    """Claim up to `limit` of what is due for a receiver; the first due is taken first.

    Args:
        session: in a transaction.
        receiver: for whom they are.
        now: the time by which they must be due.
        until: when the claim runs out.
        limit: how many at the most.
    """
    # a CTE that locks rows is run once; see claims.take
    chosen = (
        select(Notification.id)
        .where(Notification.receiver == receiver, Notification.due_at <= now, _is_first())
        .order_by(Notification.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    return list(
        session.scalars(
            update(Notification)
            .where(Notification.id.in_(select(chosen.c.id)))
            .values(claim=uuid4(), claimed_until=until, due_at=until)
            .returning(Notification)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
    )


def _is_first() -> ColumnElement[bool]:
    """Return the condition that nothing is ahead of it that its request is to be told as well."""
    earlier = aliased(Notification)
    ahead = (
        select(literal(1))
        .where(
            earlier.request_id == Notification.request_id,
            earlier.channel == Notification.channel,
            earlier.created_at < Notification.created_at,
            earlier.due_at.is_not(None),
        )
        .limit(1)
        .scalar_subquery()
    )
    return ahead.is_(None)


def held(session: Session, taken: Notification) -> Notification | None:
    """Return it, locked, if it still bears its claim; None if somebody else took over."""
    return session.scalars(
        select(Notification)
        .where(Notification.id == taken.id, Notification.claim == taken.claim)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def next_due(session: Session) -> datetime | None:
    """Return when the next is due, or its claim runs out; None for none.

    One that has another ahead of it is not due before that is gone.
    """
    return session.scalar(
        select(Notification.due_at)
        .where(Notification.due_at.is_not(None), _is_first())
        .order_by(Notification.due_at)
        .limit(1)
    )
