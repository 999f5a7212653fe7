"""Retry: an export that ended without its file is taken up again, where that makes sense."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from models import Export, Request, State, outbox
from models.state import UNDER_WAY
from worker.cloudslicer.reply import NOT_FOUND, REFUSED
from worker.errors import InvalidRequest
from worker.logs import about, get_logger
from worker.steps.create import join, under_way
from worker.steps.renewal import renew
from worker.steps.report import Report, Step, Wake
from worker.steps.wanted import locked, take_turn, waiting
from worker.steps.wish import check_id

# One message retries so many at the most, and sends itself on.
MOST_AT_ONCE = 500

# After these the job has no file to give, and never will: only another job does.
_JOB_IS_SPENT = frozenset(
    {"export_error", "export_deadline", "job_lost", "job_not_found", "cancelled_at_uplynk"}
)
# After these Uplynk surely has no job.
_NEVER_BEGUN = frozenset({REFUSED, NOT_FOUND, "cancelled", "job_taken"})

_STEPS = {
    State.REQUESTED: Step.SUBMIT,
    State.SUBMITTING: Step.SUBMIT,
    State.EXPORTING: Step.POLL,
    State.DOWNLOADING: Step.DOWNLOAD,
}

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Only:
    """What is retried by a code: an export that failed with it before a time."""

    code: str
    before: datetime

    def __contains__(self, export: Export | None) -> bool:
        return (
            export is not None
            and export.state is State.FAILED
            and export.error_code == self.code
            and export.state_since < self.before
        )


def retry(
    sessions: sessionmaker[Session], request_id: str, *, now: datetime, by: str | None = None
) -> Report:
    """Take up the export of a request that failed or was cancelled; else nothing changes.

    A file whose URL is on record is fetched again, a job that may still be done is looked at, an
    export that Uplynk may have is looked for. Only what can't be had in these ways is exported, and
    paid for, anew; as a new export that takes the place of the old one.

    Args:
        sessions: opens a session on the database.
        request_id: whose export it is.
        now: the time.
        by: the id of the message that asks for it, if one does: the same one again changes nothing.

    Raises:
        InvalidRequest: there is no such request, or it made no sense when it came.
    """
    check_id(request_id)
    with about(request_id=request_id), sessions.begin() as session:
        return _retried(session, request_id, now=now, by=by)[0]


def retry_failed(
    sessions: sessionmaker[Session],
    code: str,
    *,
    now: datetime,
    before: datetime | None = None,
    by: str | None = None,
    account: str | None = None,
    limit: int = MOST_AT_ONCE,
) -> Report:
    """Retry all requests that failed with `code`, up to `limit` at a time.

    Those that failed at `before` or later (None: now) are left alone: what fails again in the
    meantime is not retried again and again. `by` is as `retry` takes it. Of one `account`, or of
    all that the database has (None).
    """
    before = before or now
    only, wakes, count = _Only(code, before), list[Wake](), 0
    with sessions.begin() as session:
        of_account = [Export.account == account] if account is not None else []
        chosen = session.scalars(
            select(Request.id)
            .join(Export, Request.export_id == Export.id)
            .where(
                Export.state == State.FAILED,
                Export.error_code == code,
                Export.state_since < before,
                Request.cancelled_at.is_(None),
                *of_account,
            )
            .limit(limit + 1)
        ).all()
    for request_id in chosen[:limit]:
        with about(request_id=request_id), sessions.begin() as session:
            report, is_taken_up = _retried(session, request_id, now=now, by=by, only=only)
            wakes += report.wakes
            count += is_taken_up
    if len(chosen) > limit:
        rest = (("code", code), ("before", before.isoformat()))
        wakes.append(Wake(Step.RETRY, arguments=rest))
    return Report({"code": code, "retried": count}, tuple(dict.fromkeys(wakes)))


def is_paid_again(export: Export) -> bool:
    """Return whether to take up this export, which ended without its file, pays for another job."""
    return _where(export) in {None, State.REQUESTED}


def _retried(
    session: Session,
    request_id: str,
    *,
    now: datetime,
    by: str | None,
    only: _Only | None = None,
) -> tuple[Report, bool]:
    """Take up the request's export; returns the report, and whether it was not left as it is."""
    request, export = locked(session, request_id)
    if request is None:
        raise InvalidRequest(f"there is no request {request_id}")
    if export is None:
        raise InvalidRequest(
            f"request {request_id} was {request.state} before anything was exported for it;"
            " send another, with an id of its own"
        )
    is_repeated = by is not None and request.retried_by == by
    is_meant = only is None or export in only or export.state in UNDER_WAY
    if is_taken_up := is_meant and not is_repeated:
        was_withdrawn = request.cancelled_at is not None
        request.cancelled_at, request.retried_by = None, by
        if was_withdrawn and export.state is State.STORED:  # for others, who still wanted it
            outbox.tell(session, request, at=now)
        if export.state in UNDER_WAY:
            join(session, export, request.priority, request.requester)
        elif export.state is not State.STORED:
            export = _taken_up(session, request, export, now=now)
    facts = {"request_id": request_id, "export_id": str(export.id), "state": str(export.state)}
    _log.info("export retried" if is_taken_up else "export left as it is", **facts)
    step = _STEPS.get(export.state)
    export_id = export.id if step is Step.DOWNLOAD else None
    return Report(facts, (Wake(step, export_id),) if step else ()), is_taken_up


def _taken_up(session: Session, request: Request, export: Export, *, now: datetime) -> Export:
    """Return the export that goes on for the request: this one, another under way, or a new one."""
    if other := under_way(session, export.account, export.asset, export.audio):
        request.export = other
        join(session, other, request.priority, request.requester)
        return other
    session.flush()  # that it is wanted again
    state = _where(export)
    if state is None:
        return renew(session, export, now=now, renewals=0) or export
    export.retry(state, now=now, reason="retried")
    take_turn(session, export, waiting(session, export))
    return export


def _where(export: Export) -> State | None:
    """Return the state in which the export goes on, or None if only a new job can help."""
    if export.job_id is None:
        if export.asked_at is None or export.error_code in _NEVER_BEGUN:
            return State.REQUESTED
        return State.SUBMITTING  # Uplynk may have it
    if export.error_code in _JOB_IS_SPENT or export.job_state in {"error", "cancelled"}:
        return None
    return State.DOWNLOADING if export.url else State.EXPORTING
