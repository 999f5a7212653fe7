"""Survey: where many jobs are due, Uplynk's list is read instead of asking for each of them.

One worker at a time reads it, page by page, until it has seen every job that was due when it began.
It begins where the newest of these is, as far as our own records tell, and passes over what is not
due (`models.places`). Where the list turns out not to have the newest job first, or many are not
seen where they should be, all of it is read, from its top.

A list may be in any order, move while it is read, leave jobs out, or be refused. What it does not
show is asked for one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import State, Survey, claims, places
from models.database import inserted
from worker.cloudslicer import Job
from worker.cloudslicer.allowance import Kind
from worker.errors import ClaimLost, ExportError, Permanent, Transient
from worker.logs import forget, get_logger
from worker.steps import listing, page
from worker.steps.kit import Kit
from worker.steps.report import Wake

# So few are asked for one by one, however long the list is.
FEW = 10
# A page is worth it where it saves a quarter of its price now; the rest it saves later. One that
# is read where a job is due, is.
LEAST_DUE_A_PAGE = 0.25
# How long one page may take before another worker takes over. Both would set down the same.
TURN = timedelta(seconds=10)
# The reading ends where so many pages in a row show no job of ours, or a part of what there is to
# see: it costs no more than a fiftieth of what asking one by one would.
MOST_BARREN_PAGES = 3
MOST_BARREN_PART = 50
# A list that shows less of what is due is let be.
MOST_UNSEEN = 0.5
# How long it is let be after it did not show what was due, and after it was refused.
REST = timedelta(minutes=1)
REST_REFUSED = timedelta(minutes=10)

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
    """This worker's part of a reading.

    Attributes:
        claim: the worker's.
        begun_at: what was due by then is to be seen.
        due: how many are due by then.
        unseen: how many of these are still to be seen.
        skip: where it reads on.
        is_whole: it passes over nothing.
        has_passed: it did, on its way.
        has_ended: there is nothing to see from `skip` on; or it can't be told where.
        is_disordered: the list does not have the newest job first.
        barren: how many pages in a row showed none of ours, or nothing new.
        known: the jobs of the page before.
    """

    claim: UUID
    begun_at: datetime
    due: int
    unseen: int
    skip: int
    is_whole: bool
    has_passed: bool
    has_ended: bool = False
    is_disordered: bool = False
    barren: int = 0
    known: frozenset[str] = frozenset()

    @property
    def is_over(self) -> bool:
        """Whether all was seen, there is no more to see, or pages do not pay."""
        most_barren = max(MOST_BARREN_PAGES, self.unseen // MOST_BARREN_PART)
        return self.unseen <= 0 or self.has_ended or self.barren >= most_barren

    @property
    def is_telling(self) -> bool:
        """Whether what was not seen so far is surely not in the part of the list that was read."""
        return self.is_whole or not (self.has_passed or self.is_disordered)

    def read_all(self) -> None:
        """Pass over nothing any more, and go back to the top for what was passed over."""
        self.is_whole, self.has_ended = True, False
        if self.has_passed:
            self.skip, self.has_passed = 0, False
            self.barren, self.known = 0, frozenset()


def is_worthwhile(due: int, *, of: int, a_page: int) -> bool:
    """Return whether reading all of the list costs less than asking for each that is due.

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
        while not turn.is_over:
            is_time = kit.stopping() or kit.circuit.is_open or kit.now() >= until
            if is_time or not kit.allowance.take(Kind.POLL):
                _leave(kit, turn)
                return
            _read_page(kit, turn, seen)
            if turn.is_over and _is_worth_all(kit, turn):
                turn.read_all()
    except ExportError as error:
        if isinstance(error, Transient) and error.is_asked_too_much:
            # one by one it would be more still
            _leave(kit, turn)
            seen.busy_until = kit.now() + max(error.retry_after or TURN, TURN)
            return
        rest = REST_REFUSED if isinstance(error, Permanent) else REST
        _end(kit, turn, rest=rest, why=f"{error.code}: {error.message}")
    else:
        shows_enough = not turn.is_telling or turn.unseen <= max(FEW, turn.due * MOST_UNSEEN)
        why = f"Uplynk's list did not show {turn.unseen} jobs that were due"
        _end(kit, turn, rest=None if shows_enough else REST, why=None if shows_enough else why)
    seen.due_by = turn.begun_at


def _is_worth_all(kit: Kit, turn: _Turn) -> bool:
    """Return whether what was not seen is to be looked for in all of the list."""
    if turn.is_telling:
        return False
    with kit.sessions.begin() as session:
        under_way = claims.count(session, (State.EXPORTING,), account=kit.slicer.owner)
    return is_worthwhile(turn.unseen, of=under_way, a_page=kit.page_size.size)


def _read_page(kit: Kit, turn: _Turn, seen: Seen) -> None:
    jobs = listing.page(kit, turn.skip)
    if not jobs:
        turn.has_ended = True
        return
    seen.pages += 1
    _see(kit, turn, seen, jobs)
    _log.debug("page of jobs read", jobs=len(jobs))


def _see(kit: Kit, turn: _Turn, seen: Seen, jobs: Sequence[Job]) -> None:
    """Set down a page in one transaction."""
    is_new = not turn.known.issuperset(job.id for job in jobs)
    turn.skip += len(jobs)
    turn.known = frozenset(job.id for job in jobs)
    rows: list[Row[Any]] = []
    try:
        with kit.sessions.begin() as session:
            _go_on(kit, session, turn)
            rows = page.exports(kit, session, jobs)
            wakes = page.set_down(kit, session, rows, jobs)
            _pass_over(kit, session, turn, rows)
        seen.wakes += wakes
    except (SQLAlchemyError, ClaimLost):
        raise
    except Exception:  # noqa: BLE001  (the boundary of a batch; its jobs are asked for one by one)
        _log.exception("page met the unforeseen")
        forget("export_id")
        rows = []
    seen.looked += len(rows)
    turn.unseen -= _number_due(turn, rows)
    turn.barren = 0 if rows and is_new else turn.barren + 1


def _number_due(turn: _Turn, rows: Sequence[Row[Any]]) -> int:
    return sum(row.due_at <= turn.begun_at for row in rows)


def _pass_over(kit: Kit, session: Session, turn: _Turn, rows: Sequence[Row[Any]]) -> None:
    """Go to the place of the next that is due, where that is not just behind this page."""
    if turn.is_whole or not rows:
        return
    turn.is_disordered = turn.has_ended = not page.is_newest_first(rows)
    if turn.has_ended or _number_due(turn, rows) * 2 >= len(rows):
        return
    oldest, account = min(map(page.known_since, rows)), kit.slicer.owner
    due = places.due(session, by=turn.begun_at, account=account, until=oldest)
    if due.newest is None:
        turn.has_ended = True
        return
    between = places.newer(session, than=due.newest, account=account, until=oldest)
    _pass(kit, turn, between)


def _pass(kit: Kit, turn: _Turn, number: int) -> None:
    """Pass over so many that are not due; but for some, for whatever the list may lack.

    Pages begin at the same places each time, so that those which are seen together once stay
    together.
    """
    size = kit.page_size.size
    place = (turn.skip + number - size // 2) // size * size
    if place > turn.skip:
        turn.skip, turn.has_passed = place, True


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
        turn = _left(session, row, now) or _new(kit, session, now)
        row.begun_at, row.skip, row.is_whole = turn.begun_at, turn.skip, turn.is_whole
        row.claim, row.claimed_until, row.rests_until, row.why = turn.claim, now + TURN, None, None
        return turn


def _left(session: Session, row: Survey, now: datetime) -> _Turn | None:
    """Return the turn that goes on with a reading that was left; None where that was long ago.

    A place in a list that has moved on since is none.
    """
    if row.begun_at is None or row.claimed_until is None or now - row.claimed_until > REST:
        return None
    due = places.due(session, by=row.begun_at, account=row.account).number
    if not due:
        return None
    return _Turn(
        uuid4(),
        row.begun_at,
        due=due,
        unseen=due,
        skip=row.skip,
        is_whole=row.is_whole,
        has_passed=not row.is_whole,
    )


def _new(kit: Kit, session: Session, now: datetime) -> _Turn:
    account = kit.slicer.owner
    due = places.due(session, by=now, account=account)
    turn = _Turn(
        uuid4(), now, due=due.number, unseen=due.number, skip=0, is_whole=False, has_passed=False
    )
    if due.newest is not None:
        _pass(kit, turn, places.newer(session, than=due.newest, account=account))
    return turn


def _go_on(kit: Kit, session: Session, turn: _Turn) -> None:
    """Set down how far the list was read.

    Raises:
        ClaimLost: this took too long, and another worker reads on.
    """
    until = kit.now() + TURN
    _update(session, kit, turn, claimed_until=until, skip=turn.skip, is_whole=turn.is_whole)


def _leave(kit: Kit, turn: _Turn) -> None:
    with kit.sessions.begin() as session:
        values = {"claim": None, "claimed_until": kit.now()}
        _update(session, kit, turn, **values, skip=turn.skip, is_whole=turn.is_whole)


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
            is_whole=False,
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
