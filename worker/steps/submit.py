"""Submit: Uplynk is asked for an export, once, whatever becomes of the answer."""

from datetime import datetime, timedelta
from threading import Lock
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from models import Audio, Export, State, admission, claims, passage
from worker import tracing
from worker.cloudslicer import Job
from worker.cloudslicer.allowance import Kind
from worker.errors import (
    ClaimLost,
    ExportError,
    OutcomeUnknown,
    Permanent,
    Stopping,
    Transient,
)
from worker.logs import about, get_logger
from worker.steps import adoption, failure, probe, renewal
from worker.steps.heartbeat import Heartbeat
from worker.steps.kit import Kit
from worker.steps.persistence import persist, still_held, tell_dropped
from worker.steps.report import Report, Step, Wake
from worker.steps.withdraw import stop

# One message works off this much; then it makes room for other short steps, and is sent again.
MOST_AT_ONCE = 20
MOST_TIME = timedelta(seconds=5)

# So many are asked for side by side: the call is slow, and a place of the pool is dear.
LANES = 4

# So many exports are named in its task's result.
MOST_TOLD = 5

# Where too many calls were made it goes on after this.
A_MOMENT = timedelta(seconds=1)

# A job that is surely not in the list has been looked for this often, apart by the settle time.
LOOKS_NEEDED = 2

_LOST = (
    "whether Uplynk made a job can't be told any more: it was asked so long ago that it may have"
    " erased it, as it does 72 hours after a job has ended"
)

_log = get_logger(__name__)


def submit(kit: Kit) -> Report:
    """Ask Uplynk for the exports that are due, the most urgent first, while the window has room.

    An export whose outcome is unknown (it is `submitting`, and nobody is at it) is looked for in
    Uplynk's list before all else, and asked for again only when it is surely not there.
    """
    if away_until := probe.away_until(kit):
        return Report({"uplynk": "away"}, (Wake(Step.SUBMIT, at=away_until),))
    message = _Message(kit)
    if lanes := _lanes_of_use(kit):
        kit.crew.together(lambda: _work_off(kit, message), lanes)
    if message.is_over or not lanes:
        message.wakes += _later(kit)
    return message.told()


class _Message:
    """What the lanes of one message have done so far, and how much they may do."""

    def __init__(self, kit: Kit) -> None:
        self._kit, self._begun = kit, kit.now()
        self._lock, self._taken = Lock(), 0
        # all that are found unknown were asked for long ago: when none is left, none comes soon
        self.has_unknown = True
        self.is_over = False  # there was nothing more to ask for
        self.asked = list[str]()
        self.wakes = list[Wake]()

    def may_go_on(self) -> bool:
        """Return whether one more may be asked for."""
        kit = self._kit
        with self._lock:
            if (
                self._taken == MOST_AT_ONCE
                or kit.now() - self._begun >= MOST_TIME
                or kit.stopping()
                or kit.circuit.is_open
            ):
                return False
            self._taken += 1
            return True

    def told(self) -> Report:
        """Return what is to be told of it."""
        facts = {"took": len(self.asked), "exports": self.asked[:MOST_TOLD]}
        return Report(facts, tuple(dict.fromkeys(self.wakes)), took=len(self.asked))


def _work_off(kit: Kit, message: _Message) -> None:
    """Ask for one export after the other, beside the other lanes."""
    while message.may_go_on():
        if not kit.allowance.take(Kind.SUBMIT):
            message.wakes.append(Wake(Step.SUBMIT, at=kit.now() + A_MOMENT))
            return
        with kit.sessions.begin() as session:
            unknown = _unknown(kit, session) if message.has_unknown else None
            message.has_unknown = unknown is not None
            export = unknown or _taken(kit, session)
        if export is None:
            message.is_over = True
            return
        message.asked.append(str(export.id))
        message.wakes += _step(kit, export, is_new=unknown is None)
    message.wakes.append(Wake(Step.SUBMIT, goes_on=True))


def _step(kit: Kit, export: Export, *, is_new: bool) -> list[Wake]:
    """Take the step of one export; what nobody foresaw of it holds up none of the others.

    Whether Uplynk was asked by then is not known: it stays `submitting`, and its job is looked for.
    """
    with about(export_id=export.id), tracing.step("submit", kit.sessions, export):
        try:
            return _ask(kit, export) if is_new else _find(kit, export)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001  (the boundary of a row in a batch)
            failure.record_unforeseen(kit, export, error, least=kit.settings.submit_settle)
            return []


def _lanes_of_use(kit: Kit) -> int:
    """Return how many exports it seems can be asked for at once; each makes sure under the lock."""
    account, now = kit.slicer.owner, kit.now()
    with kit.sessions.begin() as session:
        of_use = len(claims.due(session, State.SUBMITTING, now=now, limit=LANES, account=account))
        if of_use < LANES:
            due = claims.due(session, State.REQUESTED, now=now, limit=LANES, account=account)
            of_use += min(len(due), _room(kit, session)) if due else 0
    return min(of_use, LANES)


def _room(kit: Kit, session: Session) -> int:
    taken = claims.count(session, admission.IN_THE_WINDOW, account=kit.slicer.owner)
    return max(kit.governor.window(session) - taken, 0)


def _unknown(kit: Kit, session: Session) -> Export | None:
    """Claim the next export of which it is not known whether Uplynk has it, if there is one."""
    account, now = kit.slicer.owner, kit.now()
    until = now + kit.settings.call_claim
    taken = claims.take(session, State.SUBMITTING, now=now, until=until, account=account)
    return taken[0] if taken else None


def _taken(kit: Kit, session: Session) -> Export | None:
    """Claim the next export that Uplynk is to be asked for, if the window has room.

    The intent to ask is on record before anybody is asked.
    """
    account = kit.slicer.owner
    admission.lock(session)
    now = kit.now()  # the lock may have taken its time
    outlook = admission.outlook(session, account=account, now=now)
    if outlook.taken >= kit.governor.window(session):
        return None
    until = now + kit.settings.call_claim
    return admission.admit(session, outlook, account=account, now=now, until=until)


def _later(kit: Kit) -> tuple[Wake, ...]:
    """Return the wake-up for what was put off, if anything was."""
    with kit.sessions.begin() as session:
        times = [
            claims.next_due(session, state, account=kit.slicer.owner)
            for state in (State.SUBMITTING, State.REQUESTED)
        ]
    due = [time for time in times if time is not None and time > kit.now()]
    return (Wake(Step.SUBMIT, at=min(due)),) if due else ()


def _ask(kit: Kit, export: Export) -> list[Wake]:
    """Ask Uplynk for the export, and set down the answer or what its absence means."""
    if export.claimed_until is None or kit.now() > export.claimed_until - kit.settings.call:
        return []  # this process stood still: the claim may run out under the call
    try:
        with kit.circuit.watching():
            job = kit.slicer.create_export(export.asset, aaclc=export.audio is Audio.AAC_LC)
    except ExportError as error:
        trouble = error
    else:
        wakes = persist(kit, lambda: _have(kit, export, job, "Uplynk took it"))
        return wakes if wakes is not None else _orphaned(kit, export, job)
    return persist(kit, lambda: _unanswered(kit, export, trouble))


def _unanswered(kit: Kit, export: Export, error: ExportError) -> list[Wake]:
    """Set down that Uplynk refused, surely did not hear, or may have heard."""
    with kit.sessions.begin() as session:
        held = still_held(session, export)
        if held is None:
            return []
        now = kit.now()
        unknown = isinstance(error, OutcomeUnknown)
        if isinstance(error, Transient) and not unknown:
            held.advance(State.REQUESTED, now=now, reason=f"not asked: {error.message}")
            if held.unwanted_since is not None:
                _drop(held, now=now)
                return []
        settle = kit.settings.submit_settle if unknown else None
        failure.record(kit, held, error, now=now, least=settle)
        return _again(held)


def _find(kit: Kit, export: Export) -> list[Wake]:
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
    with kit.sessions.begin() as session:
        if not is_taken and (wakes := _passed_on(kit, session, export, job, reason)):
            return wakes
        held = claims.held(session, export.id, export.claim)
        held = held or claims.unanswered(session, export.id)
        other = _owner_of(session, job.id) if held is None or is_taken else None
        if held is None:
            tell_dropped(export)
            return [] if other else None
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


def _passed_on(
    kit: Kit, session: Session, export: Export, job: Job, reason: str
) -> list[Wake] | None:
    """Set down that Uplynk has the job where all is as expected; returns None where it is not."""
    now = kit.now()
    due_at = now + kit.until_next_look(timedelta())
    is_passed = passage.pass_on(
        session,
        export,
        State.EXPORTING,
        now=now,
        reason=f"{reason}: job {job.id}",
        due_at=due_at,
        if_wanted=True,
        values={"job_id": job.id, "job_state": job.word, "job_created_at": now},
    )
    if not is_passed:
        return None
    _log.info("export under way", asset=export.asset)
    return [Wake(Step.POLL, at=due_at)]


def _owner_of(session: Session, job_id: str) -> UUID | None:
    return session.scalar(select(Export.id).where(Export.job_id == job_id))
