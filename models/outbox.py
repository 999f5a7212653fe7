"""Outbox: what a CMS is to be told is written in the transaction in which it comes true.

An export that ends leaves word of it with its session (see Export.advance). Before that commits,
each request that still wants the export has its notifications: whichever step it was, none is
forgotten, and none is told of an end that another export has taken the place of. Only where no
request wants to know is that left out, by the statement of passage.end. What becomes of one request
alone its step tells itself (`tell`).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from threading import local
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from sqlalchemy import bindparam, event, or_, select
from sqlalchemy.orm import Session, sessionmaker

from models.export import ended_in
from models.notification import Notification
from models.request import Request
from models.state import TERMINAL, Channel

_LONGEST_RECEIVER = 300

# The function export_is_awaited says the same in the database (migration 0015).
_WANTS_TO_KNOW = or_(Request.callback_task.is_not(None), Request.webhook_url.is_not(None))

# Kept, since each export that ends asks it: to write it down anew costs as much as to ask it.
_WAITING = (
    select(Request)
    .where(
        Request.export_id.in_(bindparam("exports", expanding=True)),
        Request.cancelled_at.is_(None),
        _WANTS_TO_KNOW,
    )
    .execution_options(populate_existing=True)
)  # a statement may have ended what the session has


class News(local):
    """Whether the calling thread has written something that is to be delivered."""

    is_there = False


def attach(sessions: sessionmaker[Session]) -> None:
    """Have the sessions of this factory tell of the exports that end in them."""
    sessions.configure(info={News: News()})
    event.listen(sessions, "before_commit", _tell_of_ended)


def has_news(sessions: sessionmaker[Session]) -> bool:
    """Return whether this thread has written something to deliver since it was last asked."""
    news: News = sessions.kw["info"][News]
    was_there, news.is_there = news.is_there, False
    return was_there


def tell(session: Session, request: Request, *, at: datetime) -> None:
    """Have the CMS told what has become of the request, if it wants to know."""
    _write(session, messages(request, at=at))


def tell_each(session: Session, request_ids: Collection[str], *, at: datetime) -> None:
    """Tell what has become of these requests, as `tell` does."""
    if not request_ids:
        return
    for request in session.scalars(
        select(Request).where(Request.id.in_(request_ids), _WANTS_TO_KNOW)
    ):
        tell(session, request, at=at)


def waiting(session: Session, export_ids: Collection[UUID]) -> Sequence[Request]:
    """Return the requests that still want one of these exports, and to know of its end."""
    return session.scalars(_WAITING, {"exports": list(export_ids)}).all()


def messages(request: Request, *, at: datetime) -> Iterator[Notification]:
    """Give what tells of the request's state, which has come true `at` this time, by each way."""
    payload = {
        "id": str(uuid4()),
        "type": f"export.{request.state}",
        "timestamp": at.isoformat().replace("+00:00", "Z"),
        "data": data_of(request),
    }
    for channel, receiver in _receivers(request):
        yield Notification(
            request_id=request.id,
            channel=channel,
            receiver=receiver[:_LONGEST_RECEIVER],
            type=payload["type"],
            payload=payload,
            created_at=at,
            due_at=at,
        )


def data_of(request: Request) -> dict[str, Any]:
    """Return what a CMS is told of a request, in JSON values.

    What its export has become since the request was withdrawn is not the request's any more.
    """
    export, error = request.export, request.error
    file = export if export is not None and request.cancelled_at is None else None
    return {
        "request_id": request.id,
        "export_id": str(export.id) if export else None,
        "asset": request.asset,
        "audio": str(request.audio) if request.audio else None,
        "state": str(request.state),
        "storage_url": file and file.storage_url,
        "size_bytes": file and file.size_bytes,
        "sha256": file and file.sha256,
        "duration_seconds": file and file.duration_seconds,
        "captions_url": file and file.captions_url,
        "error": {"code": error[0], "message": error[1]} if error else None,
        "metadata": request.metadata_ or {},
    }


def _receivers(request: Request) -> Iterator[tuple[Channel, str]]:
    if request.callback_task is not None:
        yield Channel.TASK, f"queue {request.callback_queue}"
    if request.webhook_url is not None:
        parts = urlsplit(request.webhook_url)
        yield Channel.WEBHOOK, f"{parts.scheme}://{parts.netloc}".lower()


def _tell_of_ended(session: Session) -> None:
    if session.in_nested_transaction():
        return
    ended = ended_in(session)
    if not ended:
        return
    for request in waiting(session, ended):
        # unless it was taken up again since
        if request.export is not None and request.export.state in TERMINAL:
            tell(session, request, at=request.export.state_since)


def _write(session: Session, told: Iterable[Notification]) -> None:
    for each in told:
        session.add(each)
        session.info.setdefault(News, News()).is_there = True
