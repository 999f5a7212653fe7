"""Survey: Uplynk's list of jobs is read instead of asking for each of those that are due.

One worker at a time reads it, page by page, until it has seen every job that was due when it began.
It begins where the newest of these is, as far as our own records tell, and passes over what is not
due (`models.places`). Where the list turns out not to have the newest job first, or many are not
seen where they should be, all of it is read, from its top.

A list may be in any order, move while it is read, leave jobs out, or be refused. What it does not
show is asked for one by one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from models import State, claims, places
from worker.cloudslicer import Job
from worker.cloudslicer.allowance import Kind
from worker.errors import ClaimLost, ExportError, Permanent, Transient
from worker.logs import forget, get_logger
from worker.steps import listing, page
from worker.steps.kit import Kit
from worker.steps.reading import LEADING, TURN, Reading, Seen, begin

# For so few that were not found where they must be not all of the list is read.
FEW = 10
# A page is worth it where it saves a quarter of its price now; the rest it saves later. One that
# was read just now saves nothing later.
LEAST_DUE_A_PAGE = 0.25
# Of many this part is worth a look together: each takes its work, too.
LEAST_PART = 10
# Young jobs are looked at once in POLL_MIN_SECONDS. Where there is many a page of them it pauses
# behind each, so that all are seen in this part of that. For jobs that were asked for together end
# together, and seen all at one moment they would leave a worker idle until then, and with all their
# files after. None comes where less than LEAST_PART is seen yet, or left; nor one that is shorter
# than the least, and not worth a message.
PAUSING = 0.8
LEAST_PAUSE = timedelta(seconds=0.05)
# How long it is let be after it did not show what was due, and after it was refused.
REST = timedelta(minutes=1)
REST_REFUSED = timedelta(minutes=10)

_log = get_logger(__name__)


def survey(kit: Kit, *, until: datetime) -> Seen:
    """Read the list from where it was left, no longer than `until`, and set down what it shows."""
    seen = Seen()
    reading = begin(kit, seen)
    if reading is None:
        return seen
    try:
        _read(kit, reading, seen, until)
    except ClaimLost:
        _log.debug("survey taken over")
    return seen


def _read(kit: Kit, reading: Reading, seen: Seen, until: datetime) -> None:
    try:
        while not reading.is_over:
            if not _may_ask(kit, until):
                reading.leave(kit)
                return
            _read_page_or_again(kit, reading, seen, until)
            if reading.is_over:
                _recount(kit, reading)
                if _is_worth_all(kit, reading):
                    reading.read_all()
            elif goes_on := _pauses_until(kit, reading, unseen=reading.unseen):
                seen.busy_until = goes_on
                reading.leave(kit, until=goes_on)
                return
    except ExportError as error:
        if isinstance(error, Transient) and error.is_asked_too_much:
            # one by one it would be more still
            seen.busy_until = kit.now() + max(error.retry_after or TURN, TURN)
            reading.leave(kit, until=min(seen.busy_until, kit.now() + REST))
        elif isinstance(error, Permanent) and reading.has_passed:
            # it may be the place that is refused: the top of the list tells
            reading.read_all()
            _read(kit, reading, seen, until)
        else:
            refused = REST_REFUSED if isinstance(error, Permanent) else REST
            why = f"{error.code}: {error.message}"
            _end(kit, reading, seen, rest=None if reading.skip else refused, why=why)
        return
    is_lacking = reading.is_telling and reading.unseen > FEW
    is_useless = reading.unseen > 0 and not (reading.has_found or reading.is_disordered)
    why = f"Uplynk's list did not show {reading.unseen} jobs that were due"
    rest = REST if is_useless or (is_lacking and reading.is_barren) else None
    _end(kit, reading, seen, rest=rest, why=why if is_lacking else None)


def _may_ask(kit: Kit, until: datetime) -> bool:
    """Return whether there is time for a page, and one more call to Uplynk is allowed."""
    is_over = kit.stopping() or kit.circuit.is_open or kit.now() >= until
    return not is_over and kit.allowance.take(Kind.POLL)


def _pauses_until(kit: Kit, reading: Reading, *, unseen: int) -> datetime | None:
    """Return until when nobody reads on, for young jobs to be seen part by part.

    None where it goes on at once: where few are left to be seen, where what it saw has ended, and
    where more is due than the list has yet to show, `unseen`, which is to be asked for one by one.
    Nothing waits for longer than a sweep.

    Those that are young are told by when they are due, and so are some that just happen to be due.
    """
    now, account, pace = kit.now(), kit.slicer.owner, kit.settings.poll_min
    longest = PAUSING * pace
    if not reading.is_young or now >= reading.begun_at + longest:
        return None
    with kit.sessions.begin() as session:
        if places.due(session, by=reading.begun_at, account=account).number > unseen:
            return None
        # what it has seen is due no sooner than a pace after it began
        sooner = reading.begun_at + pace - timedelta.resolution
        left = places.due(session, by=sooner, account=account).number
        if left < FEW:
            return None
        young = places.due(session, by=now + pace, account=account).number
        first = claims.next_due(session, State.EXPORTING, account=account)
    if min(left, young - left) < max(FEW, young / LEAST_PART):
        return None
    waits_until = min(first or now, now) + kit.settings.sweep
    until = min(reading.begun_at + longest * ((young - left) / young), waits_until)
    return until if until - now >= LEAST_PAUSE else None


def _recount(kit: Kit, reading: Reading) -> None:
    """See whether what it did not show is still due, before that says something of the list.

    Others may have looked at it meanwhile, one by one.
    """
    if reading.unseen > FEW or (reading.unseen > 0 and not reading.has_found):
        with kit.sessions.begin() as session:
            due = places.due(session, by=reading.begun_at, account=kit.slicer.owner)
        reading.unseen = min(reading.unseen, due.number)


def _end(
    kit: Kit, reading: Reading, seen: Seen, *, rest: timedelta | None, why: str | None
) -> None:
    seen.busy_until = _pauses_until(kit, reading, unseen=0)
    reading.end(kit, rest=rest, why=why, until=seen.busy_until)
    seen.due_by = reading.begun_at


def _is_worth_all(kit: Kit, reading: Reading) -> bool:
    """Return whether what was not seen is to be looked for in all of the list."""
    if reading.is_telling or reading.unseen <= FEW:
        return False
    with kit.sessions.begin() as session:
        under_way = claims.count(session, (State.EXPORTING,), account=kit.slicer.owner)
    least = LEAST_DUE_A_PAGE if reading.is_disordered else 1.0
    return reading.unseen >= least * under_way / kit.page_size.size


def _read_page_or_again(kit: Kit, reading: Reading, seen: Seen, until: datetime) -> None:
    """Read a page. One that gives no answer is asked for once more, if there is time for it.

    That costs less than to ask for all of its jobs one by one.
    """
    try:
        _read_page(kit, reading, seen)
    except Transient as error:
        if error.is_asked_too_much or not _may_ask(kit, until):
            raise
        with kit.sessions.begin() as session:
            reading.hold(kit, session, claimed_until=kit.now() + TURN)
        _read_page(kit, reading, seen)


def _read_page(kit: Kit, reading: Reading, seen: Seen) -> None:
    jobs, asked_for = listing.asked(kit, reading.skip)
    if reading.came:
        kit.page_size.came(reading.came, is_last=not jobs)
    if not jobs:
        reading.has_ended = True
        return
    # what was asked for less of, as more was refused, tells nothing
    reading.came = len(jobs) if asked_for >= kit.page_size.most else 0
    seen.pages += 1
    _see(kit, reading, seen, jobs)
    _log.debug("page of jobs read", jobs=len(jobs))


def _see(kit: Kit, reading: Reading, seen: Seen, jobs: Sequence[Job]) -> None:
    """Set down a page in one transaction, and go on behind it."""
    is_new = not reading.known.issuperset(job.id for job in jobs)
    reading.skip += len(jobs)
    reading.known = frozenset(job.id for job in jobs)
    rows: page.Rows = []
    try:
        with kit.sessions.begin() as session:
            reading.hold(kit, session, claimed_until=kit.now() + TURN)
            rows = page.exports(kit, session, jobs)
            wakes = page.set_down(kit, session, rows, jobs)
        seen.wakes += wakes
    except (SQLAlchemyError, ClaimLost):
        raise
    except Exception:  # noqa: BLE001  (the boundary of a batch; its jobs are asked for one by one)
        _log.exception("page met the unforeseen")
        forget("export_id")
        rows = []
    due = {row.id for row in rows if row.due_at <= reading.begun_at} - reading.counted
    seen.looked += len(rows)
    reading.is_young = page.are_young(kit, rows)
    reading.unseen -= len(due)
    reading.counted |= due
    reading.has_found = reading.has_found or bool(due)
    leads = False
    if rows and not reading.is_whole:
        ordered, pairs = page.in_order(rows)
        reading.in_order = reading.in_order[0] + ordered, reading.in_order[1] + pairs
        if len(due) * 2 < len(rows) and reading.unseen > 0 and not reading.is_disordered:
            leads = _find_next(kit, reading, rows) and is_new
    if is_new and (rows if reading.is_whole else due):
        reading.barren = 0
    elif leads and kit.now() - reading.read_since < LEADING:
        reading.led += 1
    else:
        reading.barren += 1


def _find_next(kit: Kit, reading: Reading, rows: page.Rows) -> bool:
    """Go where the next is that is due, of those that are no newer than what a page ends with.

    Returns whether there is one.
    """
    account, medians = kit.slicer.owner, page.medians(rows)
    with kit.sessions.begin() as session:
        due = places.due(session, by=reading.begun_at, account=account, until=medians[0])
        if due.newest is None:
            # none is behind it, if the list is in order
            reading.has_ended = reading.has_passed = True
        else:
            # where the jobs at its end are known since they were found again, others tell the time
            since = min(medians)
            shown = sum(due.newest < page.known_since(row) < since for row in rows)
            reading.pass_over(kit, session, since, due.newest, shown=shown)
    return due.newest is not None
