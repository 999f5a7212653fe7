"""Survey: where many jobs are due, Uplynk's list is read instead of asking for each of them.

One worker at a time reads it, page by page, until it has seen every job that was due when it began.
A page tells of all the jobs on it: those that would be due a moment later get their next time as
well, so that looks at jobs which wait together come together.

A list may be in any order, move while it is read, leave jobs out, or be refused. What it does not
show is asked for one by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, String, Text, case, literal, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import Export, State, Survey, claims
from models.database import inserted
from worker.cloudslicer import Job, JobState
from worker.cloudslicer.allowance import Kind
from worker.errors import ClaimLost, ExportError, Permanent, Transient
from worker.logs import about, forget, get_logger
from worker.steps import listing, look, withdraw
from worker.steps.kit import Kit
from worker.steps.report import Wake

# So few are asked for one by one, however long the list is.
FEW = 10
# A page is worth it where it saves a quarter of its price now; the rest it saves later.
LEAST_DUE_A_PAGE = 0.25
# How long one page may take before another worker takes over. Both would set down the same.
TURN = timedelta(seconds=10)
# The reading ends where so many pages in a row show no job of ours, or a part of what there is to
# see: it costs no more than a fiftieth of what asking one by one would.
MOST_BARREN_PAGES = 3
MOST_BARREN_PART = 50
# How long it is let be after it did not show what was due, and after it was refused.
REST = timedelta(minutes=1)
REST_REFUSED = timedelta(minutes=10)

_COLUMNS = (
    Export.id,
    Export.job_id,
    Export.due_at,
    Export.job_state,
    Export.job_progress,
    Export.job_error,
    Export.attempts,
    Export.stop_told_at,
    Export.unwanted_since,
    Export.job_created_at,
    Export.begun_at,
    Export.created_at,
    Export.state_since,
)

_log = get_logger(__name__)


@dataclass(slots=True)
class Seen:
    """What a survey came to.

    Attributes:
        pages: how many were read.
        looked: how many exports on them are ours, and were set down.
        wakes: what is to be woken by it.
        busy_until: when to come again, where another worker is at it.
        due_by: what was due by then, and still is, is to be asked for one by one; None: nothing is.
    """

    pages: int = 0
    looked: int = 0
    wakes: list[Wake] = field(default_factory=list)
    busy_until: datetime | None = None
    due_by: datetime | None = None


@dataclass(slots=True)
class _Turn:
    """This worker's part of a reading."""

    claim: UUID
    begun_at: datetime
    skip: int
    unseen: int = 0
    barren: int = 0
    known: frozenset[str] = frozenset()  # the jobs of the page before


def is_worthwhile(due: int, *, of: int, a_page: int) -> bool:
    """Return whether reading the list costs less than asking for each of those that are due.

    Args:
        due: how many are.
        of: how many are under way.
        a_page: how many jobs of the list come with one call.
    """
    return due > FEW and due >= LEAST_DUE_A_PAGE * of / a_page


def survey(kit: Kit, *, until: datetime) -> Seen:
    """Read the list from where it was left, no longer than `until`, and set down what it shows."""
    seen = Seen()
    turn = _begin(kit, seen)
    if turn is None:
        return seen
    try:
        _read(kit, turn, seen, until)
    except ClaimLost:
        _log.debug("survey taken over")
    return seen


def _read(kit: Kit, turn: _Turn, seen: Seen, until: datetime) -> None:
    try:
        _read_on(kit, turn, seen, until)
    except ExportError as error:
        if isinstance(error, Transient) and error.is_asked_too_much:
            # one by one it would be more still
            _leave(kit, turn)
            seen.busy_until = kit.now() + max(error.retry_after or TURN, TURN)
            return
        rest = REST_REFUSED if isinstance(error, Permanent) else REST
        _end(kit, turn, rest=rest, why=f"{error.code}: {error.message}")
        seen.due_by = turn.begun_at


def _read_on(kit: Kit, turn: _Turn, seen: Seen, until: datetime) -> None:
    while turn.unseen > 0:
        is_over = kit.stopping() or kit.circuit.is_open or kit.now() >= until
        if is_over or not kit.allowance.take(Kind.POLL):
            _leave(kit, turn)
            return
        page = listing.page(kit, turn.skip)
        if not page:
            break
        seen.pages += 1
        _see(kit, turn, seen, page)
        _log.debug("page of jobs read", jobs=len(page))
        if turn.barren >= max(MOST_BARREN_PAGES, turn.unseen // MOST_BARREN_PART):
            break
    shows_enough = turn.unseen <= FEW
    why = None if shows_enough else f"Uplynk's list did not show {turn.unseen} jobs that were due"
    _end(kit, turn, rest=None if shows_enough else REST, why=why)
    seen.due_by = turn.begun_at


def _see(kit: Kit, turn: _Turn, seen: Seen, page: Sequence[Job]) -> None:
    """Set down a page in one transaction."""
    is_new = not turn.known.issuperset(job.id for job in page)
    turn.skip += len(page)
    turn.known = frozenset(job.id for job in page)
    try:
        with kit.sessions.begin() as session:
            _go_on(kit, session, turn)
            ids = [job.id for job in page]
            rows = claims.of_jobs(session, ids, now=kit.now(), columns=_COLUMNS)
            seen.wakes += _set_down(kit, session, rows, page)
    except (SQLAlchemyError, ClaimLost):
        raise
    except Exception:  # noqa: BLE001  (the boundary of a batch; its jobs are asked for one by one)
        _log.exception("page met the unforeseen")
        forget("export_id")
        rows = []
    seen.looked += len(rows)
    turn.unseen -= sum(row.due_at <= turn.begun_at for row in rows)
    turn.barren = 0 if rows and is_new else turn.barren + 1


def _set_down(
    kit: Kit, session: Session, rows: Sequence[Row[Any]], page: Sequence[Job]
) -> list[Wake]:
    """Set down what the page says: of most jobs that they are as they were, and for others more."""
    now = kit.now()
    jobs = {job.id: job for job in page}
    unchanged, goes_on, changed = list[Row[Any]](), list[Row[Any]](), list[UUID]()
    for row in rows:
        job = jobs[row.job_id]
        if _is_to_be_asked_for(kit, row, job, now=now):
            continue
        if not _goes_on(row, job):
            changed.append(row.id)
        elif row.job_state == job.word and row.job_progress == (job.progress or None):
            unchanged.append(row)
        else:
            goes_on.append(row)
    _put_off(kit, session, unchanged, now=now)
    _put_off(kit, session, goes_on, now=now, how_far=jobs)
    if not changed:
        return []
    exports = session.scalars(
        select(Export).where(Export.id.in_(changed)).execution_options(populate_existing=True)
    ).all()
    wakes: list[Wake] = []
    for export in exports:
        with about(export_id=export.id):
            wakes += look.learned(kit, session, export, jobs[str(export.job_id)])
    return list(dict.fromkeys(wakes))


def _is_to_be_asked_for(kit: Kit, row: Row[Any], job: Job, *, now: datetime) -> bool:
    """Return whether the list is not enough: the job is to be stopped, or its URL is not told."""
    if job.state is JobState.DONE and job.url is None:
        return True
    is_late = job.state not in withdraw.ENDED and look.is_late(kit, row, now=now)
    return is_late or row.unwanted_since is not None


def _goes_on(row: Row[Any], job: Job) -> bool:
    """Return whether the job just runs on, as far as it may have come by now."""
    return (
        job.state not in withdraw.ENDED
        and job.finished_at is None
        and (not job.last_error or row.job_error == job.last_error)
        and row.attempts == 0
        and row.stop_told_at is None
    )


def _put_off(
    kit: Kit,
    session: Session,
    rows: Sequence[Row[Any]],
    *,
    now: datetime,
    how_far: Mapping[str, Job] | None = None,
) -> None:
    """Set down of these how far they are, if that is new, and when to look again."""
    if not rows:
        return
    times = {
        row.id: now + kit.until_next_look(now - (row.job_created_at or row.state_since))
        for row in rows
    }
    values = {"due_at": case(times, value=Export.id)}
    if how_far is not None:
        jobs = {row.id: how_far[row.job_id] for row in rows}
        words = {each: literal(job.word, String) for each, job in jobs.items()}
        progress = {each: literal(job.progress or None, Text) for each, job in jobs.items()}
        values["job_state"] = case(words, value=Export.id)
        values["job_progress"] = case(progress, value=Export.id)
    session.execute(
        update(Export)
        .where(Export.id.in_(times))
        .values(**values, polls=Export.polls + 1, claim=None, claimed_until=None)
        .execution_options(synchronize_session=False)
    )


def _begin(kit: Kit, seen: Seen) -> _Turn | None:
    """Return this worker's turn; None where another is at it, or the list is let be."""
    now, account = kit.now(), kit.slicer.owner
    with kit.sessions.begin() as session:
        inserted(session, Survey(account=account, skip=0))
        row = session.get_one(Survey, account, with_for_update=True)
        if row.rests_until is not None and row.rests_until > now:
            seen.due_by = now
            return None
        if row.claimed_until is not None and row.claimed_until > now:
            seen.busy_until = row.claimed_until
            return None
        due = _unseen(session, row, now)
        if row.begun_at is None or not due:
            row.begun_at, row.skip = now, 0
            due = claims.count_due(session, State.EXPORTING, now=now, account=account)
        row.claim, row.claimed_until, row.rests_until, row.why = uuid4(), now + TURN, None, None
        return _Turn(row.claim, row.begun_at, row.skip, unseen=due)


def _unseen(session: Session, row: Survey, now: datetime) -> int:
    """Return how much there is to see for a reading that was left; 0 where that was long ago.

    A place in a list that has moved on since is none.
    """
    if row.begun_at is None or row.claimed_until is None or now - row.claimed_until > REST:
        return 0
    return claims.count_due(session, State.EXPORTING, now=row.begun_at, account=row.account)


def _go_on(kit: Kit, session: Session, turn: _Turn) -> None:
    """Set down how far the list was read.

    Raises:
        ClaimLost: this took too long, and another worker reads on.
    """
    _update(session, kit, turn, claimed_until=kit.now() + TURN, skip=turn.skip)


def _leave(kit: Kit, turn: _Turn) -> None:
    with kit.sessions.begin() as session:
        _update(session, kit, turn, claim=None, claimed_until=kit.now())


def _end(kit: Kit, turn: _Turn, *, rest: timedelta | None, why: str | None) -> None:
    if why is not None:
        _log.warning("jobs are asked for one by one", message=why)
    rests_until = kit.now() + rest if rest is not None else None
    with kit.sessions.begin() as session:
        _update(
            session,
            kit,
            turn,
            claim=None,
            claimed_until=None,
            begun_at=None,
            skip=0,
            rests_until=rests_until,
            why=why,
        )


def _update(session: Session, kit: Kit, turn: _Turn, **values: object) -> None:
    mine = session.execute(
        update(Survey)
        .where(Survey.account == kit.slicer.owner, Survey.claim == turn.claim)
        .values(**values)
        .returning(Survey.account)
        .execution_options(synchronize_session=False)
    ).first()
    if mine is None:
        raise ClaimLost
