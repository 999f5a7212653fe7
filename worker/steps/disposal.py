"""Disposal: jobs whose files are stored are taken off Uplynk's list, so that it stays short."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.orm import Session

from models import Cleaning, Export, deletions
from models.database import inserted
from worker import pace
from worker.cloudslicer.allowance import Kind
from worker.cloudslicer.job import storable
from worker.cloudslicer.reply import is_gone
from worker.errors import ExportError, Permanent, Transient
from worker.logs import get_logger
from worker.steps import probe
from worker.steps.kit import Kit
from worker.steps.persistence import persist

# So many go in one call; where Uplynk refuses, a tenth of it, and so on.
MOST_IDS = 100
FEWER = 10
# A message makes so many calls at the most, and leaves the rest to the next.
MOST_CALLS = 10
# When a job is tried again that Uplynk did not delete.
AGAIN = timedelta(hours=1)
# How long nothing is deleted after Uplynk refused a single one, and after it did not answer.
REST_REFUSED = timedelta(hours=1)
REST = timedelta(minutes=5)
# How long to wait where too many calls were made.
A_MOMENT = timedelta(seconds=5)

_LONGEST_WORD = 200

_log = get_logger(__name__)


def next_due(kit: Kit, session: Session) -> datetime | None:
    """Return when the next job is to be deleted; None for never."""
    if kit.settings.delete_jobs_after is None:
        return None
    account = kit.slicer.owner
    due_at = deletions.next_due(session, account=account)
    row = session.get(Cleaning, account)
    rests_until = row.jobs_rest_until if row else None
    return due_at if due_at is None or rests_until is None else max(due_at, rests_until)


def dispose(kit: Kit) -> tuple[int, datetime | None]:
    """Have Uplynk delete the jobs that are due; returns how many are gone, and when to go on.

    Whoever dies after a call has the jobs deleted once more, and hears that they are not found.
    """
    gone, size = 0, MOST_IDS
    for _ in range(MOST_CALLS):
        if not _is_due(kit) or kit.stopping():
            break
        if away_until := probe.away_until(kit):
            return gone, away_until
        if not kit.allowance.take(Kind.OTHER):
            return gone, kit.now() + A_MOMENT
        exports = _taken(kit, size)
        answer = _asked(kit, exports)
        gone += persist(kit, partial(_record, kit, exports, answer))
        if isinstance(answer, Permanent):
            size = max(min(size, len(exports)) // FEWER, 1)
    with kit.sessions.begin() as session:
        return gone, next_due(kit, session)


def _is_due(kit: Kit) -> bool:
    with kit.sessions.begin() as session:
        due_at = next_due(kit, session)
    return due_at is not None and due_at <= kit.now()


def _taken(kit: Kit, limit: int) -> list[Export]:
    now = kit.now()
    with kit.sessions.begin() as session:
        return deletions.take(
            session,
            now=now,
            until=now + kit.settings.call_claim,
            limit=limit,
            account=kit.slicer.owner,
        )


def _asked(kit: Kit, exports: Sequence[Export]) -> Mapping[str, str] | ExportError:
    """Return Uplynk's word on each job, by its id; or why there is none."""
    if not exports:  # another worker has them
        return {}
    try:
        with kit.circuit.watching():
            return kit.slicer.delete_jobs([str(export.job_id) for export in exports])
    except ExportError as error:
        _log.warning("jobs not deleted", jobs=len(exports), code=error.code, message=error.message)
        return error


def _record(kit: Kit, exports: Sequence[Export], answer: Mapping[str, str] | ExportError) -> int:
    """Set down what became of the jobs; returns how many are gone."""
    if isinstance(answer, ExportError):
        _put_off(kit, exports, answer)
        return 0
    words = {export.id: answer.get(str(export.job_id), "") for export in exports}
    stay = [export for export in exports if not is_gone(words[export.id])]
    for export in stay:
        said = storable(words[export.id][:_LONGEST_WORD]) or "nothing"
        _log.warning("job not deleted", export_id=str(export.id), message=f"Uplynk said: {said}")
    with kit.sessions.begin() as session:
        deletions.settle(session, words.keys() - {export.id for export in stay}, None)
        _again(session, stay, kit.now() + AGAIN)
    if gone := len(exports) - len(stay):
        _log.info("jobs deleted", jobs=gone)
    return gone


def _again(session: Session, exports: Sequence[Export], at: datetime) -> None:
    """Have the jobs deleted then, but for those that Uplynk has erased by itself by that time."""
    last = at - pace.JOB_ERASED_AFTER
    there = {each.id for each in exports if _ended_at(each) > last}
    deletions.settle(session, there, at)
    deletions.settle(session, {each.id for each in exports} - there, None)


def _ended_at(export: Export) -> datetime:
    return export.job_finished_at or export.done_at or export.state_since


def _put_off(kit: Kit, exports: Sequence[Export], error: ExportError) -> None:
    """Have nothing deleted for a while; but where several were refused, fewer are tried at once."""
    now = kit.now()
    is_refused = isinstance(error, Permanent)
    with kit.sessions.begin() as session:
        if is_refused and len(exports) > 1:
            deletions.settle(session, [export.id for export in exports], now)
            return
        wanted = error.retry_after if isinstance(error, Transient) else REST_REFUSED
        rest = min(max(wanted or REST, REST), REST_REFUSED)
        # one that was refused comes after the others, which may be refused for its sake
        _again(session, exports, now + (2 * rest if is_refused else rest))
        inserted(session, Cleaning(account=kit.slicer.owner, due_at=now))
        row = session.get_one(Cleaning, kit.slicer.owner, with_for_update=True)
        row.jobs_rest_until = now + rest
