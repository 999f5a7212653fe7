"""Cancel: a request is withdrawn; what nobody wants any more is not gone on with."""

from datetime import datetime

from sqlalchemy.orm import Session, sessionmaker

from models import Export, Request, State, outbox
from models.database import inserted
from models.state import TERMINAL
from worker.logs import about, get_logger
from worker.steps.report import Report, Step, Wake
from worker.steps.wanted import locked, take_turn, waiting
from worker.steps.wish import check_id

_log = get_logger(__name__)


def cancel(sessions: sessionmaker[Session], request_id: str, *, now: datetime) -> Report:
    """Withdraw the request; once more, or too late, it changes nothing.

    The export goes on if others want it. Else it ends here: where Uplynk may have its job, as soon
    as that is stopped there; a download that is running loses its claim, and stops by that.

    A request that is not on record is set down as cancelled: its message may be on its way still.

    Raises:
        InvalidRequest: the id is none that a request can have.
    """
    check_id(request_id)
    with about(request_id=request_id):
        return _cancelled(sessions, request_id, now=now)


def _cancelled(sessions: sessionmaker[Session], request_id: str, *, now: datetime) -> Report:
    with sessions.begin() as session:
        request, export = locked(session, request_id)
        if request is None:
            request = Request(id=request_id, created_at=now, cancelled_at=now)
            if inserted(session, request):
                _log.info("request withdrawn")
                return _told(request)
            request, export = locked(session, request_id)  # it came in this very moment
        if request is None or export is None or request.state in TERMINAL:
            return _told(request)
        request.cancelled_at = now
        outbox.tell(session, request, at=now)
        session.flush()
        _log.info("request withdrawn", export_id=str(export.id), asset=export.asset)
        others = waiting(session, export)
        if others:
            take_turn(session, export, others)
            return _told(request)
        wakes = _abandon(export, now=now)
    _log.info("export abandoned", export_id=str(export.id), state=str(export.state))
    return Report(_told(request).facts, wakes)


def _abandon(export: Export, *, now: datetime) -> tuple[Wake, ...]:
    """Have an export that nobody wants end: now, or when its job at Uplynk is known and stopped."""
    if export.state in {State.REQUESTED, State.DOWNLOADING}:
        job = f"; job {export.job_id} was done at Uplynk" if export.job_id else ""
        export.cancel("cancelled", f"no request wants it any more{job}", now=now)
        return (Wake(Step.SUBMIT),)
    export.unwanted_since = now
    if export.state is State.EXPORTING and export.claim is None:
        export.release(due_at=now)
        return (Wake(Step.POLL),)
    return ()  # who is at it will see; and a search for its job keeps its time


def _told(request: Request | None) -> Report:
    return Report({"state": str(request.state), "request_id": request.id} if request else {})
