"""Look: what Uplynk says of a job is set down, and the export goes on as that demands."""

from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import Export, State, StopCause
from worker import pace, tracing
from worker.cloudslicer import Job, JobState
from worker.cloudslicer.reply import NOT_FOUND
from worker.errors import ExportError, Permanent, Transient
from worker.logs import about, get_logger
from worker.steps import failure, renewal, withdraw
from worker.steps.kit import Kit
from worker.steps.persistence import persist, still_held
from worker.steps.report import Step, Wake

DONE = "Uplynk is done"

_log = get_logger(__name__)


class Aged(Protocol):
    """What tells how long an export has been under way: a row of `exports`, or a part of one."""

    @property
    def job_created_at(self) -> datetime | None:
        """When we learned of its job."""

    @property
    def begun_at(self) -> datetime | None:
        """When it was first asked for, or retried."""

    @property
    def created_at(self) -> datetime:
        """When it was recorded."""


def look(kit: Kit, export: Export) -> list[Wake]:
    """Look at one job; that nobody foresaw what it is like holds up none of the others.

    Args:
        kit: what to work with.
        export: claimed for this.
    """
    with about(export_id=export.id):
        try:
            return _look_at(kit, export)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001  (the boundary of a row in a batch)
            failure.record_unforeseen(kit, export, error)
            return []


def _look_at(kit: Kit, export: Export) -> list[Wake]:
    """Look at one job, and set down what was learned of it; stop it if it is not to go on."""
    if export.unwanted_since is not None and withdraw.decided(kit, export, StopCause.UNWANTED):
        return withdraw.withdraw(kit, export)
    answer = _asked(withdraw.look(kit, str(export.job_id)), export, now=kit.now())
    late = (
        isinstance(answer, Job)
        and answer.state not in withdraw.ENDED
        and is_late(kit, export, now=kit.now())
        and withdraw.decided(kit, export, StopCause.LATE)
    )
    if late:  # it may end in this very moment, and then it has ended as any other
        answer = _asked(withdraw.stop(kit, str(export.job_id)), export, now=kit.now())
    return persist(kit, lambda: _looked(kit, export, answer, late=late))


def _looked(kit: Kit, export: Export, answer: Job | ExportError, *, late: bool) -> list[Wake]:
    with kit.sessions.begin() as session:
        held = still_held(session, export)
        if held is None:
            return []
        return learned(kit, session, held, answer, late=late)


def learned(
    kit: Kit, session: Session, export: Export, answer: Job | ExportError, *, late: bool = False
) -> list[Wake]:
    """Set down what Uplynk said of the export's job; returns what is to be woken by that.

    Args:
        kit: what to work with.
        session: in a transaction that holds the lock of `export`.
        export: is `exporting`, and in nobody else's hands.
        answer: the job, or why it is not known.
        late: whether the job was told to stop in this very look, because it took too long.
    """
    now = kit.now()
    export.polls += 1
    try:
        if isinstance(answer, ExportError):
            raise answer
        _learn(kit, export, answer, late=late, now=now)
    except ExportError as error:
        failure.record(kit, export, error, now=now)
        renewal.renew_lost(kit, session, export, now=now)
    if export.state is not State.EXPORTING:
        trace_job(session, export, now=now)
    renewal.renew_withdrawn(session, export, now=now)
    return _next(export, now=now)


def _next(export: Export, *, now: datetime) -> list[Wake]:
    """Return what is to be woken, as the export stands; one that nobody wants goes no further."""
    if export.unwanted_since is not None and export.state is State.DOWNLOADING:
        done = f"no request wants it any more; job {export.job_id} was done at Uplynk"
        export.cancel("cancelled", done, now=now)
        _log.info("export cancelled", message=export.error_message)
    elif export.unwanted_since is not None and export.state is State.EXPORTING:
        export.release(due_at=now)
    if export.state is State.EXPORTING:
        return []
    # an export that has left Uplynk has made room in the window
    room = Wake(Step.SUBMIT)
    return [Wake(Step.DOWNLOAD, export.id), room] if export.state is State.DOWNLOADING else [room]


def _asked(answer: Job | ExportError, export: Export, *, now: datetime) -> Job | ExportError:
    """Return the job as Uplynk tells it, or what its answer means for the export.

    Only "not found" can be final: a refusal has no code that could tell a passing trouble of ours,
    a wrong key say, from the end of the job. And a job that is too young to have been erased may be
    one that Uplynk does not show yet.
    """
    if isinstance(answer, Job | Transient):
        return answer
    if answer.code != NOT_FOUND:
        return Transient(answer.code, answer.message)
    if now - (export.job_created_at or now) < renewal.ERASED_AFTER:
        return Transient(
            "job_not_found",
            f"Uplynk does not know job {export.job_id}, which is too young to have been erased",
        )
    return Permanent(
        "job_lost",
        f"Uplynk knows no job {export.job_id} any more: it erases them 72 hours after they end",
    )


def _learn(kit: Kit, export: Export, job: Job, *, late: bool, now: datetime) -> None:
    """Set down what the job is like, and take the export on if the job has ended.

    `late` says that the job was told to stop in this very look, because it took too long.
    """
    export.job_state = job.word
    export.job_progress = job.progress or None
    export.job_error = job.last_error or export.job_error
    export.job_finished_at = job.finished_at
    match job.state:
        case JobState.DONE:
            _have_url(export, job, now=now)
        case JobState.ERROR:
            why = job.last_error or "it gave no reason"
            raise Permanent("export_error", f"Uplynk could not export the asset: {why}")
        case _ if late:
            raise _out_of_time(kit, job)
        case JobState.CANCELLED:
            _stopped(kit, export, job, now=now)
            _log.info("export cancelled", message=export.error_message)
        case _:  # waiting (again), assigned, or a word that nobody has heard of
            export.recovered()
            withdraw.forget_unheard(export, now=now)
            age = now - (export.job_created_at or export.state_since)
            export.release(due_at=now + kit.until_next_look(age))
            _log.debug("job not done yet", polls=export.polls)


def _stopped(kit: Kit, export: Export, job: Job, *, now: datetime) -> None:
    """End an export whose job is cancelled: from here, whoever heard of it, or by somebody else."""
    if export.unwanted_since is not None or export.stop_cause is StopCause.UNWANTED:
        export.cancel("cancelled", f"job {job.id} was cancelled at Uplynk", now=now)
    elif export.stop_cause is StopCause.LATE:
        raise _out_of_time(kit, job)
    else:
        said = f"job {job.id} was cancelled at Uplynk, and not from here"
        export.cancel("cancelled_at_uplynk", said, now=now)


def _out_of_time(kit: Kit, job: Job) -> Permanent:
    hours = f"{kit.settings.export_deadline.total_seconds() / 3600:g}"
    return Permanent(
        "export_deadline",
        f"Uplynk had not finished job {job.id} within {hours} hours"
        f" (EXPORT_DEADLINE_HOURS); it was told to stop it, and it is {job.word}",
    )


def _have_url(export: Export, job: Job, *, now: datetime) -> None:
    if job.url is None:
        raise Transient("url_missing", f"Uplynk says that job {job.id} is done, but not where")
    if export.url is None:  # else it is the download that failed, and it is still failing
        export.recovered()
    export.url, export.done_at = job.url, job.finished_at or now
    export.advance(State.DOWNLOADING, now=now, reason=DONE)
    tell_done(export.polls)


def tell_done(polls: int) -> None:
    """Log that a job is done, after so many looks."""
    _log.info("job done", polls=polls)


def trace_job(session: Session, export: Export | Row[Any], *, now: datetime) -> None:
    """Have the trace show for how long the job was at Uplynk."""
    tracing.past("at uplynk", session, export, export.job_created_at or now, now)


def is_late(kit: Kit, export: Aged, *, now: datetime) -> bool:
    """Return whether nobody finishes the job.

    A retried export has all its time again. So has one that lived through an outage, but for that
    it gets no more than an export may take in all.
    """
    limit, most = kit.settings.export_deadline, kit.settings.total_deadline
    times = [time for time in (export.job_created_at, export.begun_at) if time is not None]
    if not pace.is_over(max(times, default=None), limit=limit, now=now):
        return False
    outage_ended_at = kit.circuit.ended_at
    is_excused = outage_ended_at is not None and now - outage_ended_at < limit
    return not is_excused or pace.is_over(export.begun_at or export.created_at, limit=most, now=now)
