"""Withdraw: a job that is not wanted any more, or takes too long, is stopped at Uplynk."""

from datetime import datetime, timedelta

from models import Export, State, StopCause, claims
from worker import pace
from worker.cloudslicer import Job, JobState
from worker.cloudslicer.allowance import Kind
from worker.cloudslicer.reply import NOT_FOUND
from worker.errors import ExportError, Permanent, Transient
from worker.logs import get_logger
from worker.steps import failure, renewal
from worker.steps.kit import Kit
from worker.steps.persistence import persist, still_held
from worker.steps.report import Step, Wake

# Uplynk stops a job within 10 s (uplynk-api: jobs/cancel); a worker may have stood still before.
UNHEARD_AFTER = timedelta(minutes=10)
# So long after it was made, a job that is not found is surely not there (any more).
UNSEEN_FOR = timedelta(minutes=10)

ENDED = frozenset({JobState.DONE, JobState.ERROR, JobState.CANCELLED})

_log = get_logger(__name__)


def stop(kit: Kit, job_id: str) -> Job | ExportError:
    """Have Uplynk stop the job; returns the job as it is then, or why that is not known.

    A job that ended in the meantime can't be stopped (uplynk-api: jobs/cancel): it comes back as
    what it became.
    """
    kit.allowance.take(Kind.OTHER)
    try:
        with kit.circuit.watching():
            return kit.slicer.cancel_job(job_id)
    except Permanent:
        return look(kit, job_id)
    except ExportError as error:
        return error


def look(kit: Kit, job_id: str) -> Job | ExportError:
    """Return the job as Uplynk tells it, or why that is not known."""
    try:
        with kit.circuit.watching():
            return kit.slicer.get_job(job_id)
    except ExportError as error:
        return error


def decided(kit: Kit, export: Export, cause: StopCause) -> bool:
    """Return whether the job is to be stopped, for `cause`; that is on record then.

    It is set down before Uplynk is told: where its answer is never heard, whoever looks at the job
    next knows from here who stopped it, and why. False if the claim is lost, or if somebody wants
    the export again since it was claimed.
    """
    with kit.sessions.begin() as session:
        held = claims.held(session, export.id, export.claim)
        if held is None or (cause is StopCause.UNWANTED and held.unwanted_since is None):
            return False
        held.stop_cause, held.stop_told_at = cause, kit.now()
        return True


def forget_unheard(export: Export, *, now: datetime) -> None:
    """Forget that a job was told to stop that runs on long after: if it ends, it is not by that."""
    if pace.is_over(export.stop_told_at, limit=UNHEARD_AFTER, now=now):
        export.stop_cause = export.stop_told_at = None


def withdraw(kit: Kit, export: Export) -> list[Wake]:
    """Stop the job of an export that nobody wants, and end the export."""
    answer = stop(kit, str(export.job_id))
    return persist(kit, lambda: _withdrawn(kit, export, answer))


def _withdrawn(kit: Kit, export: Export, answer: Job | ExportError) -> list[Wake]:
    with kit.sessions.begin() as session:
        held = still_held(session, export)
        if held is None:
            return []
        now = kit.now()
        if isinstance(answer, ExportError) and not _is_gone(held, answer, now=now):
            trouble = answer if isinstance(answer, Transient) else _refused(answer)
            failure.record(kit, held, trouble, now=now)
            return _again(held)
        wanted_again = held.unwanted_since is None
        if isinstance(answer, Job):
            held.job_state, held.job_finished_at = answer.word, answer.finished_at
            held.url = answer.url or held.url
            if answer.state not in ENDED and not _is_unstoppable(kit, held, now=now):
                unwanted_for = now - (held.unwanted_since or now)  # it stops within 10 s
                held.release(due_at=now + kit.until_next_look(unwanted_for))
                return _again(held)
        if wanted_again and isinstance(answer, Job) and answer.state is JobState.DONE:
            held.release(due_at=now)  # it is paid for, and an ordinary look takes it on
            return _again(held)
        held.cancel("cancelled", f"no request wants it any more; {_fate(answer)}", now=now)
        _log.info("export cancelled", message=held.error_message)
        renewal.renew_withdrawn(session, held, now=now)
        return [Wake(Step.SUBMIT)]


def _is_gone(export: Export, error: ExportError, *, now: datetime) -> bool:
    """Return whether Uplynk surely has no such job; one just made may be one that it shows late."""
    made_at = export.job_created_at or export.state_since
    return error.code == NOT_FOUND and pace.is_over(made_at, limit=UNSEEN_FOR, now=now)


def _is_unstoppable(kit: Kit, export: Export, *, now: datetime) -> bool:
    return pace.is_over(export.unwanted_since, limit=kit.settings.export_deadline, now=now)


def _fate(answer: Job | ExportError) -> str:
    if isinstance(answer, ExportError):
        return "Uplynk knows its job no more"
    if answer.state is JobState.CANCELLED:
        return f"job {answer.id} was cancelled at Uplynk"
    if answer.state not in ENDED:
        return f"Uplynk did not stop job {answer.id}, which is {answer.word}"
    return f"job {answer.id} had ended at Uplynk already ({answer.word})"


def _refused(error: ExportError) -> Transient:
    code = "job_not_found" if error.code == NOT_FOUND else error.code
    return Transient(code, f"whether its job still runs can't be told: {error.message}")


def _again(export: Export) -> list[Wake]:
    return [Wake(Step.POLL, at=export.due_at)] if export.state is State.EXPORTING else []
