"""Create: a CMS's message becomes a request, and an export unless one is under way already."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import Audio, Export, History, Request, admission, outbox, turns
from models.database import autocommitted, inserted
from models.export import IS_UNDER_WAY, beginning_of, row_of
from models.insertion import insert_together
from worker import tracing
from worker.cloudslicer.job import storable
from worker.errors import InvalidRequest, Transient
from worker.logs import about, get_logger
from worker.steps.kit import Kit
from worker.steps.report import Report, Step, Wake
from worker.steps.wish import Wish, check_id, read, sender

MOST_RACES = 5

_log = get_logger(__name__)


def create(
    kit: Kit, request_id: str, arguments: Mapping[str, Any], positional: Sequence[Any] = ()
) -> Report:
    """Set down the request; the same request id again changes nothing.

    The request shares the export of its asset and audio codec that is under way, or begins one.
    A request that makes no sense is set down as failed, with the reason.

    Args:
        kit: what to work with.
        request_id: the id of the Celery task that brought it.
        arguments: the task's keyword arguments: `asset` and, as they are wanted, `aaclc`,
            `priority`, `requester`, `metadata`, `callback`, `webhook_url`.
        positional: the task's positional arguments; there must be none.

    Raises:
        InvalidRequest: it makes no sense; that is on record unless the id itself is unusable.
    """
    with about(request_id=request_id):
        check_id(request_id)
        return _created(kit, request_id, arguments, positional)


def _created(
    kit: Kit, request_id: str, arguments: Mapping[str, Any], positional: Sequence[Any]
) -> Report:
    now = kit.now()
    try:
        wish = read(arguments, positional)
    except InvalidRequest as error:
        _refuse(kit, request_id, arguments, str(error), now)
        raise
    try:
        with autocommitted(kit.sessions) as session:  # it is one statement where that counts
            facts = _begun(session, request_id, wish, kit.slicer.owner, now)
    except IntegrityError:  # the request is known, or the export is under way
        with kit.sessions.begin() as session:
            request = _recorded(session, request_id, wish, kit.slicer.owner, now)
            facts = {"state": str(request.state), "request_id": request_id}
            if request.export is None:  # this very id was refused before, or cancelled
                return Report(facts)
            facts["export_id"] = str(request.export.id)
    _log.info("request recorded", asset=wish.asset, **facts)
    return Report(facts, (Wake(Step.SUBMIT),))


def _begun(
    session: Session, request_id: str, wish: Wish, account: str, now: datetime
) -> dict[str, str]:
    """Set down a new request with a new export, as nearly all are; together they cost the least.

    Raises:
        IntegrityError: one of them is there already.
    """
    export = Export.begun(**wish.begins(account, now=now))
    more = {"export_id": export.id, "trace_context": tracing.current()}
    insert_together(
        session,
        (Export, row_of(export)),
        (History, beginning_of(export)),
        (Request, wish.row(request_id, now=now) | more),
        preceding=turns.entering(session, account, wish.by),
    )
    return {"state": str(export.state), "request_id": request_id, "export_id": str(export.id)}


def _recorded(
    session: Session, request_id: str, wish: Wish, account: str, now: datetime
) -> Request:
    """Return the request of this id, made now unless it is there already."""
    if known := session.get(Request, request_id):
        if known.export_id is not None and (known.asset, known.audio) != (wish.asset, wish.audio):
            raise InvalidRequest(
                f"request {request_id} is one for asset {known.asset} in {known.audio} already;"
                " another wish needs an id of its own"
            )
        _catch_up(session, known, wish, now)
        return known
    request = Request(**wish.row(request_id, now=now), trace_context=tracing.current())
    # first the request: where the same message is a moment ahead in another worker, this waits
    # for it, and no export is begun that nobody asked for
    if not inserted(session, request):
        return session.get_one(Request, request_id)
    request.export = _joined(session, wish, account, now)
    return request


def _catch_up(session: Session, known: Request, wish: Wish, now: datetime) -> None:
    """Note what a request was for that was withdrawn before it came, and tell its CMS of that."""
    if known.cancelled_at is None or known.asset is not None:
        return
    session.refresh(known, with_for_update={"of": Request})
    if known.asset is None:  # the same message may be here twice
        for name, value in wish.row(known.id, now=known.created_at).items():
            setattr(known, name, value)
        outbox.tell(session, known, at=now)


def _joined(session: Session, wish: Wish, account: str, now: datetime) -> Export:
    """Return the export that is under way for this wish, begun now unless there is one."""
    for _ in range(MOST_RACES):
        if export := under_way(session, account, wish.asset, wish.audio):
            join(session, export, wish.priority, wish.by)
            return export
        turns.enter(session, account, wish.by)
        export = Export.requested(**wish.begins(account, now=now))
        if inserted(session, export):
            return export
        # another worker began one between the two statements: share that
    raise Transient("races_lost", f"exports of {wish.asset} begin and end faster than can be told")


def under_way(session: Session, account: str, asset: str, audio: Audio) -> Export | None:
    """Return the export of this asset and codec that is under way, locked, if there is one."""
    return session.scalars(
        select(Export)
        .where(
            Export.account == account,
            Export.asset == asset,
            Export.audio == audio,
            IS_UNDER_WAY,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def join(
    session: Session,
    export: Export,
    priority: int,
    requester: str,
    *,
    paused: Collection[str] | None = None,
) -> None:
    """Have the export wanted by one request more, and no less urgent than that is.

    It takes the turn of who wants it most urgently, of the first of these; but not of one who is
    paused while another is not. Who is (None: look it up) may be given for many.
    """
    if paused is None:
        paused = admission.who_is_paused(session, export.account)
    is_held, may_go = export.requester in paused, requester not in paused
    if (is_held and may_go) or (priority > export.priority and (is_held or may_go)):
        turns.enter(session, export.account, requester)
        export.requester = requester
    export.priority = max(priority, export.priority)
    export.unwanted_since = None


def _refuse(
    kit: Kit, request_id: str, arguments: Mapping[str, Any], why: str, now: datetime
) -> None:
    asset = arguments.get("asset")
    with kit.sessions.begin() as session:
        request = Request(
            id=request_id,
            asset=storable(str(asset)[:255]) if asset is not None else None,
            created_at=now,
            error_code="invalid_request",
            error_message=storable(why),
            **sender(arguments).columns(),
        )
        if session.get(Request, request_id) is None and inserted(session, request):
            outbox.tell(session, request, at=now)
