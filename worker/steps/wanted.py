"""Wanted: a request and its export, locked together in the order that keeps them from deadlocks."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Export, Request, admission, claims, turns
from worker.errors import Transient

MOST_MOVES = 5


def locked(session: Session, request_id: str) -> tuple[Request | None, Export | None]:
    """Return the request and its export, both locked; None for what there is not.

    An export's lock comes before those of its requests, here and everywhere. Where an export is
    renewed at this very moment, its requests have another one afterwards: that is followed.
    """
    for _ in range(MOST_MOVES):
        # a savepoint, so that what is locked in vain is let go of before the next is
        tried = session.begin_nested()
        request = session.get(Request, request_id, populate_existing=True)
        if request is None:
            tried.commit()
            return None, None
        export = claims.locked(session, request.export_id) if request.export_id else None
        request = session.scalars(
            select(Request)
            .where(Request.id == request_id)
            .with_for_update(of=Request)
            .execution_options(populate_existing=True)
        ).one_or_none()
        # None: what is old was deleted in this very moment, and is found missing the next time
        if request is not None and request.export_id == (export.id if export else None):
            tried.commit()  # what is locked stays so
            return request, export
        tried.rollback()
    raise Transient("races_lost", f"request {request_id} moves faster than can be told")


def waiting(session: Session, export: Export) -> list[Request]:
    """Return the export's requests that are not cancelled, locked; its own lock comes before."""
    return list(
        session.scalars(
            select(Request)
            .where(Request.export_id == export.id, Request.cancelled_at.is_(None))
            .order_by(Request.id)
            .with_for_update(of=Request)
            .execution_options(populate_existing=True)
        )
    )


def take_turn(session: Session, export: Export, requests: Sequence[Request]) -> None:
    """Have the export take the turn of who wants it most urgently, of the first of these.

    Those who are paused come after the others: an export is held up by nobody who is not alone.
    """
    paused = admission.who_is_paused(session, export.account)
    first_first = sorted(requests, key=lambda request: request.created_at)
    first = max(first_first, key=lambda each: (each.requester not in paused, each.priority))
    turns.enter(session, export.account, first.requester)
    export.requester = first.requester
    export.priority = max(request.priority for request in requests)
