"""Withdraw: a job that is not wanted any more, or takes too long, is stopped at Uplynk."""

from models import Export, State, StopCause, claims
from worker.cloudslicer import Job, JobState
from worker.cloudslicer.reply import NOT_FOUND
from worker.errors import ExportError, Permanent, Transient
from worker.logs import get_logger
from worker.steps import failure, renewal
from worker.steps.kit import Kit
from worker.steps.persistence import persist
from worker.steps.report import Step, Wake

ENDED = frozenset({JobState.DONE, JobState.ERROR, JobState.CANCELLED})

_log = get_logger(__name__)


def stop(kit: Kit, job_id: str) -> Job | ExportError:
    """Have Uplynk stop the job; returns the job as it is then, or why that is not known.

    A job that ended in the meantime can't be stopped (uplynk-api: jobs/cancel): it comes back as
    what it became.
    """
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
        held.stop_cause = cause
        return True


def withdraw(kit: Kit, export: Export) -> list[Wake]:
    """Stop the job of an export that nobody wants, and end the export."""
    answer = stop(kit, str(export.job_id))
    return persist(kit, lambda: _withdrawn(kit, export, answer))


def _withdrawn(kit: Kit, export: Export, answer: Job | ExportError) -> list[Wake]:
    with kit.sessions.begin() as session:
        held = claims.held(session, export.id, export.claim)
        if held is None:
            _log.warning("outcome dropped", export_id=str(export.id), state=str(export.state))
            return []
        now = kit.now()
        if isinstance(answer, ExportError) and answer.code != NOT_FOUND:
            trouble = answer if isinstance(answer, Transient) else _refused(answer)
            failure.record(kit, held, trouble, now=now)
            return _again(held)
        if isinstance(answer, Job):
            held.job_state, held.job_finished_at = answer.word, answer.finished_at
            held.url = answer.url or held.url
            if answer.state not in ENDED:  # it stops within 10 s
                held.release(due_at=now + kit.settings.poll_min)
                return _again(held)
        wanted_again = held.unwanted_since is None
        if wanted_again and isinstance(answer, Job) and answer.state is JobState.DONE:
            held.release(due_at=now)  # it is paid for, and an ordinary look takes it on
            return _again(held)
        held.cancel("cancelled", f"no request wants it any more; {_fate(answer)}", now=now)
        renewal.renew_withdrawn(session, held, now=now)
        return [Wake(Step.SUBMIT)]


def _fate(answer: Job | ExportError) -> str:
    if isinstance(answer, ExportError):
        return "Uplynk knows its job no more"
    if answer.state is JobState.CANCELLED:
        return f"job {answer.id} was cancelled at Uplynk"
    return f"job {answer.id} had ended at Uplynk already ({answer.word})"


def _refused(error: ExportError) -> Transient:
    return Transient(error.code, f"whether its job still runs can't be told: {error.message}")


def _again(export: Export) -> list[Wake]:
    return [Wake(Step.POLL, at=export.due_at)] if export.state is State.EXPORTING else []
