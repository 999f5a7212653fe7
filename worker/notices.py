"""Notices: what CMSs were told or not, for a person who asks, and to be told again."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from models import Channel, Notification
from worker import printing


class Stand(StrEnum):
    """How far a notification has come."""

    PENDING = "pending"  # not delivered yet
    DELIVERED = "delivered"
    DEAD = "dead"  # given up


STANDS: dict[Stand, ColumnElement[bool]] = {
    Stand.PENDING: Notification.due_at.is_not(None),
    Stand.DELIVERED: Notification.delivered_at.is_not(None),
    Stand.DEAD: Notification.dead_at.is_not(None),
}
# What a notification becomes that is to be delivered again; its id stays, for who drops duplicates.
_ANEW = {
    "claim": None,
    "claimed_until": None,
    "attempts": 0,
    "last_error": None,
    "delivered_at": None,
    "dead_at": None,
}


def stand(notification: Notification) -> Stand:
    """Return how far it has come."""
    if notification.due_at is not None:
        return Stand.PENDING
    return Stand.DEAD if notification.dead_at is not None else Stand.DELIVERED


def listed(
    session: Session, *, stands: Stand | None, request_id: str | None, limit: int
) -> Sequence[Notification]:
    """Return notifications, the newest first: all, those that stand so, or those of a request."""
    query = select(Notification).order_by(Notification.created_at.desc()).limit(limit)
    if stands is not None:
        query = query.where(STANDS[stands])
    if request_id is not None:
        query = query.where(Notification.request_id == request_id)
    return session.scalars(query).all()


def replay(session: Session, ids: Collection[UUID], *, now: datetime) -> set[UUID]:
    """Have these delivered again, with all their tries; returns those that there are.

    What is on its way already stays as it is.
    """
    _due_again(session, Notification.id.in_(ids), now=now)
    return set(session.scalars(select(Notification.id).where(Notification.id.in_(ids))))


def replay_dead(session: Session, *, now: datetime, limit: int) -> int:
    """Have up to `limit` delivered that were given up; returns how many."""
    some = select(Notification.id).where(STANDS[Stand.DEAD]).limit(limit)
    return _due_again(session, Notification.id.in_(some), now=now)


def _due_again(session: Session, which: ColumnElement[bool], *, now: datetime) -> int:
    again = (
        update(Notification)
        .where(which, Notification.due_at.is_(None))
        .values(due_at=now, **_ANEW)
        .returning(Notification.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(again).all())


def listing(notifications: Sequence[Notification], *, width: int | None) -> Iterable[str]:
    """Return two lines for each notification, below one that names the columns.

    On a terminal they are fitted to its width, and what went wrong is folded to it; who reads from
    a pipe gets all of it (None).
    """
    yield f"{'CREATED':<19}  {'STATE':<9}  {'TELLS OF':<9}  REQUEST"
    for each in notifications:
        event = each.type.removeprefix("export.")
        at = each.created_at.strftime("%Y-%m-%d %H:%M:%S")
        yield printing.fitted(f"{at}  {stand(each):<9}  {event:<9}  {each.request_id}", width)
        yield printing.fitted(f"  {each.id}  {_by(each)}", width)
        if each.last_error:
            said = f"attempt {each.attempts}: {each.last_error}"
            yield from (f"  {line}" for line in printing.folded(said, width and width - 2))


def as_json(notification: Notification) -> dict[str, object]:
    """Return a notification as JSON values, for programs."""
    return {
        "id": str(notification.id),
        "event_id": notification.payload["id"],
        "request_id": notification.request_id,
        "type": notification.type,
        "channel": str(notification.channel),
        "receiver": notification.receiver,
        "state": str(stand(notification)),
        "created_at": notification.created_at.isoformat(),
        "due_at": _time(notification.due_at),
        "attempts": notification.attempts,
        "last_error": notification.last_error,
        "delivered_at": _time(notification.delivered_at),
        "dead_at": _time(notification.dead_at),
    }


def _by(notification: Notification) -> str:
    is_task = notification.channel is Channel.TASK
    return "by a Celery task" if is_task else f"to {notification.receiver}"


def _time(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
