"""Poll: Uplynk is asked how the jobs are that are due for a look."""

from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from models import Export, State, claims
from worker import pace
from worker.cloudslicer import Job, JobState
from worker.cloudslicer.reply import NOT_FOUND
from worker.errors import ExportError, Permanent, Transient
from worker.logs import get_logger
from worker.steps import failure
from worker.steps.kit import Kit
from worker.steps.report import Report, Step, Wake

# One message looks at so many jobs at the most, and for so long: then other short steps get their
# turn. What was claimed and not looked at is given back.
MOST_AT_ONCE = 50

_log = get_logger(__name__)


def poll(kit: Kit) -> Report:
    """Look at the jobs that are due, set down what was learned, and say when to look next."""
    begun = kit.now()
    until = begun + kit.settings.call_claim
    account = kit.slicer.owner
    with kit.sessions.begin() as session:
        due = claims.take(
            session,
            State.EXPORTING,
            now=begun,
            until=until,
            limit=MOST_AT_ONCE,
            account=account,
        )
    wakes: list[Wake] = []
    looked = 0
    while due and kit.now() - begun < kit.settings.claim / 2:
        wakes += _look(kit, due.pop(0))
        looked += 1
    _give_back(kit, due)
    with kit.sessions.begin() as session:
        again = claims.next_due(session, State.EXPORTING, account=account)
    if again is not None:
        # what is due and could not be taken is in somebody's hands: don't run against it
        least = begun if looked else begun + kit.settings.poll_min
        wakes.append(Wake(Step.POLL, at=max(again, least)))
    done = sum(wake.step is Step.DOWNLOAD for wake in wakes)
    return Report({"looked": looked, "done": done}, tuple(wakes))


def _look(kit: Kit, export: Export) -> list[Wake]:
    """Look at one job; that nobody foresaw what it is like holds up none of the others."""
    try:
        return _look_at(kit, export)
    except SQLAlchemyError:
        raise
    except Exception as error:  # noqa: BLE001  (the boundary of a row in a batch)
        failure.record_unforeseen(kit, export, error)
        return []


def _look_at(kit: Kit, export: Export) -> list[Wake]:
    """Look at one job, and set down what was learned of it."""
    answer = _asked(kit, str(export.job_id))
    with kit.sessions.begin() as session:
        held = claims.held(session, export.id, export.claim)
        if held is None:
            _log.warning("outcome dropped", export_id=str(export.id), state=str(export.state))
            return []
        now = kit.now()
        held.polls += 1
        try:
            if isinstance(answer, ExportError):
                raise answer
            _learn(kit, held, answer, now=now)
        except ExportError as error:
            failure.record(kit, held, error, now=now)
        if held.state is State.DOWNLOADING:
            return [Wake(Step.DOWNLOAD, held.id), Wake(Step.SUBMIT)]
        # an export that ended has made room in the window
        return [] if held.state is State.EXPORTING else [Wake(Step.SUBMIT)]


def _asked(kit: Kit, job_id: str) -> Job | ExportError:
    """Return the job as Uplynk tells it, or what its answer means for the export.

    Only "not found" is final: a refusal has no code that could tell a passing trouble of ours, a
    wrong key say, from the end of the job.
    """
    try:
        return kit.slicer.get_job(job_id)
    except Permanent as error:
        if error.code != NOT_FOUND:
            return Transient(error.code, error.message)
        return Permanent(
            "job_lost",
            f"Uplynk knows no job {job_id} any more (it erases them 72 hours after they end);"
            " request the asset again",
        )
    except ExportError as error:
        return error


def _learn(kit: Kit, export: Export, job: Job, *, now: datetime) -> None:
    """Set down what the job is like, and take the export on if the job has ended."""
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
        case JobState.CANCELLED:
            export.error_code = "cancelled_at_uplynk"
            export.error_message = f"job {job.id} was cancelled at Uplynk, and not from here"
            export.advance(State.CANCELLED, now=now, reason=export.error_message)
        case _:  # waiting (again), assigned, or a word that nobody has heard of
            export.recovered()
            age = now - (export.job_created_at or export.state_since)
            export.release(due_at=now + until_next_look(kit, age))
            _end_if_late(kit, export, now=now)


def _have_url(export: Export, job: Job, *, now: datetime) -> None:
    if job.url is None:
        raise Transient("url_missing", f"Uplynk says that job {job.id} is done, but not where")
    if export.url is None:  # else it is the download that failed, and it is still failing
        export.recovered()
    export.url = job.url
    export.advance(State.DOWNLOADING, now=now, reason="Uplynk is done")


def until_next_look(kit: Kit, age: timedelta) -> timedelta:
    """Return how long to wait before a job of this age is looked at again, as the settings say."""
    return pace.next_look(
        age,
        ratio=kit.settings.poll_ratio,
        least=kit.settings.poll_min,
        most=kit.settings.poll_max,
        random=kit.random,
    )


def _end_if_late(kit: Kit, export: Export, *, now: datetime) -> None:
    """End an export whose job nobody finishes."""
    limit = kit.settings.export_deadline
    if pace.is_over(export.job_created_at, limit=limit, now=now):
        export.fail(
            "export_deadline",
            f"Uplynk has not finished job {export.job_id} within"
            f" {limit.total_seconds() / 3600:g} hours (EXPORT_DEADLINE_HOURS);"
            f" it was last seen {export.job_state}",
            now=now,
        )


def _give_back(kit: Kit, exports: list[Export]) -> None:
    """Free what was claimed and not looked at, for the next message."""
    if not exports:
        return
    with kit.sessions.begin() as session:
        for export in exports:
            if held := claims.held(session, export.id, export.claim):
                held.release(due_at=kit.now())
