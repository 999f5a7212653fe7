"""Asking: Uplynk is asked for an export, once, whatever becomes of the answer."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import Audio, Export, State, claims, passage
from models.database import autocommitted
from worker.cloudslicer import Job
from worker.errors import (
    ClaimLost,
    ExportError,
    OutcomeUnknown,
    Permanent,
    Stopping,
    Transient,
)
from worker.logs import get_logger
from worker.steps import adoption, failure, renewal
from worker.steps.heartbeat import Heartbeat
from worker.steps.kit import Kit
from worker.steps.persistence import persist, still_held, tell_dropped
from worker.steps.report import Step, Wake
from worker.steps.withdraw import stop

# A job that is surely not in the list has been looked for this often, apart by the settle time.
LOOKS_NEEDED = 2

_LOST = (
    "whether Uplynk made a job can't be told any more: it was asked so long ago that it may have"
    " erased it, as it does 72 hours after a job has ended"
)

_log = get_logger(__name__)


def ask(kit: Kit, export: Export) -> list[Wake]:
    """Ask Uplynk for the export, and set down the answer or what its absence means."""
    if export.claimed_until is None or kit.now() > export.claimed_until - kit.settings.call:
        # this process stood still: the claim may run out under the call
        return give_back(kit, export, "its turn came late")
    try:
        with kit.circuit.watching():
            job = kit.slicer.create_export(export.asset, aaclc=export.audio is Audio.AAC_LC)
    except ExportError as error:
        trouble = error
    else:
        wakes = persist(kit, lambda: _have(kit, export, job, "Uplynk took it"))
        return wakes if wakes is not None else _orphaned(kit, export, job)
    return persist(kit, lambda: _unanswered(kit, export, trouble))


def give_back(kit: Kit, export: Export, why: str) -> list[Wake]:
    """Have an export that is claimed, and that nobody has asked for, be in its place again."""
    with kit.sessions.begin() as session:
        held = still_held(session, export)
        if held is None:
            return []
        now = kit.now()
        if held.begun_at == held.state_since:  # by this very claim
            held.begun_at = None
        if held.asked_at == held.state_since:
            held.asked_at = None
        if not _is_wanted_again(held, why, now=now):
            return []
        held.release(due_at=min(held.created_at, now))
        return [Wake(Step.SUBMIT)]


def _is_wanted_again(export: Export, why: str, *, now: datetime) -> bool:
    """Have an export of which Uplynk surely did not hear be requested again, if it is wanted."""
    export.advance(State.REQUESTED, now=now, reason=f"not asked: {why}")
    if export.unwanted_since is None:
        return True
    _drop(export, now=now)
    return False


def _unanswered(kit: Kit, export: Export, error: ExportError) -> list[Wake]:
    """Set down that Uplynk refused, surely did not hear, or may have heard."""
    with kit.sessions.begin() as session:
        held = still_held(session, export)
        if held is None:
            return []
        now = kit.now()
        unknown = isinstance(error, OutcomeUnknown)
        is_unheard = isinstance(error, Transient) and not unknown
        if is_unheard and not _is_wanted_again(held, error.message, now=now):
            return []
        settle = kit.settings.submit_settle if unknown else None
        failure.record(kit, held, error, now=now, least=settle)
        return _again(held)


def find(kit: Kit, export: Export) -> list[Wake]:
    """Look for the job of an export that Uplynk may have been asked for."""
    try:
        with Heartbeat(kit, export) as heartbeat:
            job = adoption.find(kit, export, heartbeat)
    except ClaimLost:
        tell_dropped(export)
        return []
    except Stopping:
        with kit.sessions.begin() as session:
            if held := claims.held(session, export.id, export.claim):
                held.release(due_at=kit.now())
        return []
    except ExportError as error:
        # also a refusal: it is the list that is refused, and the job may be there all the same
        unseen = Transient(
            "outcome_unknown", f"whether Uplynk has it can't be told: {error.message}"
        )
        with kit.sessions.begin() as session:
            held = still_held(session, export)
            if held is None:
                return []
            failure.record(kit, held, unseen, now=kit.now())
            return _again(held)
    if job is not None:
        reason = "its job was found in Uplynk's list"
        return persist(kit, lambda: _have(kit, export, job, reason, is_found=True)) or []
    return _not_there(kit, export)


def _not_there(kit: Kit, export: Export) -> list[Wake]:
    """Set down a look in vain; after enough of them the job surely does not exist.

    Unless Uplynk may have made it and erased it since: then it is lost, as any that is erased.
    """
    with kit.sessions.begin() as session:
        held = still_held(session, export)
        if held is None:
            return []
        now = kit.now()
        held.looks += 1
        if held.looks < LOOKS_NEEDED:
            held.release(due_at=now + kit.settings.submit_settle)
        elif held.unwanted_since is not None:
            _drop(held, now=now)
        elif now - held.state_since >= renewal.ERASED_AFTER:
            failure.record(kit, held, Permanent("job_lost", _LOST), now=now)
            renewal.renew_lost(kit, session, held, now=now)
            return [Wake(Step.SUBMIT)]
        else:
            held.advance(State.REQUESTED, now=now, reason="Uplynk surely has no job for it")
        return _again(held)


def _drop(export: Export, *, now: datetime) -> None:
    export.cancel("cancelled", "no request wants it any more; Uplynk has no job for it", now=now)
    _log.info("export cancelled", message=export.error_message)


def _again(export: Export) -> list[Wake]:
    return [Wake(Step.SUBMIT, at=export.due_at)] if export.due_at else []


def _orphaned(kit: Kit, export: Export, job: Job) -> list[Wake]:
    """Stop a job that came so late that its export has another, or has ended."""
    _log.error("job of no export", asset=export.asset)
    stop(kit, job.id)
    return []


def _have(
    kit: Kit, export: Export, job: Job, reason: str, *, is_found: bool = False
) -> list[Wake] | None:
    """Set down that Uplynk has the job; returns None if that is no export's.

    Also where the claim was lost meanwhile: the job is a fact, and paid for, and whoever took over
    is still looking for it. Only where a job is on record already is this one dropped. One that was
    found, and is another's by now, was not the export's: it is looked for again.
    """
    try:
        return _had(kit, export, job, reason, is_found=is_found)
    except IntegrityError:  # another export has the job already
        return _had(kit, export, job, reason, is_found=is_found, is_taken=True)


def _had(
    kit: Kit, export: Export, job: Job, reason: str, *, is_found: bool, is_taken: bool = False
) -> list[Wake] | None:
    if not is_taken and (wakes := _passed_on(kit, export, job, reason)):
        return wakes
    with kit.sessions.begin() as session:
        held = claims.held(session, export.id, export.claim)
        held = held or claims.unanswered(session, export.id)
        other = _owner_of(session, job.id) if held is None or is_taken else None
        if held is None:
            tell_dropped(export)
            # it may be us who set it down, and were not told: then nobody has woken the poll
            return [Wake(Step.POLL)] if other else None
        now = kit.now()
        if other and is_found:
            held.release(due_at=now + kit.settings.submit_settle)
            return _again(held)
        if other:
            held.fail(
                "job_taken",
                f"Uplynk answered with job {job.id}, which export {other} has already",
                now=now,
            )
            failure.tell_end(held)
            return []
        if held.state is State.REQUESTED:
            held.advance(State.SUBMITTING, now=now, reason="the answer came late")
        held.advance(State.EXPORTING, now=now, reason=f"{reason}: job {job.id}")
        held.recovered()
        held.job_id, held.job_state, held.job_created_at = job.id, job.word, now
        if held.unwanted_since is None:  # else the poll is to have it cancelled, at once
            held.due_at = now + kit.until_next_look(timedelta())
        _log.info("export under way", asset=held.asset)
        return [Wake(Step.POLL, at=held.due_at)]


def _passed_on(kit: Kit, export: Export, job: Job, reason: str) -> list[Wake] | None:
    """Set down that Uplynk has the job where all is as expected; returns None where it is not."""
    now = kit.now()
    due_at = now + kit.until_next_look(timedelta())
    values = {"job_id": job.id, "job_state": job.word, "job_created_at": now}
    with autocommitted(kit.sessions) as session:  # it is one statement where that counts
        is_passed = passage.pass_on(
            session,
            export,
            State.EXPORTING,
            now=now,
            reason=f"{reason}: job {job.id}",
            due_at=due_at,
            if_wanted=True,
            values=values,
        )
    if not is_passed:
        return None
    _log.info("export under way", asset=export.asset)
    return [Wake(Step.POLL, at=due_at)]


def _owner_of(session: Session, job_id: str) -> UUID | None:
    return session.scalar(select(Export.id).where(Export.job_id == job_id))
