"""Reading: how far Uplynk's list of jobs was read through, and whose turn it is to read on."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import update
from sqlalchemy.orm import Session

from models import Survey, places
from models.database import inserted
from worker.errors import ClaimLost
from worker.logs import get_logger
from worker.steps.kit import Kit
from worker.steps.report import Wake

# How long one page may take before another worker takes over. Both would set down the same.
TURN = timedelta(seconds=10)
# The reading ends where so many pages in a row show nothing that pays for them, or a part of what
# there is to see. Where only what is due is looked for, also where they cost as much as it would.
MOST_BARREN_PAGES = 3
MOST_BARREN_PART = 50
# But a page with jobs of ours that are under way and newer than what is due leads there: what has
# ended in between is in the list as well, and nobody counts it. So many of these pages a part of a
# reading may have, as long as it saves most of the calls; and for so long.
MOST_LEADING_PART = 4
LEADING = timedelta(seconds=10)
# A list is not newest first where fewer pairs of jobs are in that order; of a list in no order half
# would be. So many pairs at least tell it.
LEAST_IN_ORDER = 2 / 3
LEAST_PAIRS = 8
# A job that was made just now may not be in the list yet.
UNLISTED = timedelta(minutes=1)
# A reading that was left so long ago is not gone on with: the list has moved on.
FRESH = timedelta(minutes=1)
# What a reading did not show goes before the next for as long as it took; within these bounds.
LEAST_MISSING, MOST_MISSING = timedelta(seconds=10), timedelta(minutes=1)

_log = get_logger(__name__)


@dataclass(slots=True)
class Seen:
    """What a survey came to.

    Attributes:
        pages: how many were read.
        looked: how many exports on them are ours, and were set down.
        wakes: what is to be woken by it.
        busy_until: when to come again, where another worker is at it, or nobody until then.
        due_by: what was due by then, and still is, is to be asked for one by one; None: nothing is.
    """

    pages: int = 0
    looked: int = 0
    wakes: list[Wake] = field(default_factory=list)
    busy_until: datetime | None = None
    due_by: datetime | None = None


@dataclass(slots=True)
class Reading:
    """This worker's part of a reading.

    Attributes:
        claim: the worker's.
        begun_at: what was due by then is to be seen.
        unseen: how many of these were not seen yet.
        skip: where it reads on.
        has_passed: there may be some of these that it passed over, this worker or one before.
        is_whole: it passes over nothing any more.
        barren: how many pages in a row neither paid nor led to what is due.
        read_since: when this worker began to read.
        led: how many pages only led there, since then.
        may_lead: how many may.
        has_found: it has shown some of these.
        has_ended: there is nothing to see from `skip` on.
        counted: those that it has shown to this worker.
        known: the jobs of the page before.
        came: how many these are, if no more could be asked for.
        in_order: how many pairs of jobs came newest first, and of how many.
        is_young: all that the page before showed are to be looked at again as soon as may be.
    """

    claim: UUID
    begun_at: datetime
    unseen: int
    read_since: datetime
    skip: int = 0
    has_passed: bool = False
    is_whole: bool = False
    barren: int = 0
    led: int = 0
    may_lead: int = field(init=False)
    has_found: bool = False
    has_ended: bool = False
    counted: set[UUID] = field(default_factory=set)
    known: frozenset[str] = frozenset()
    came: int = 0
    in_order: tuple[int, int] = (0, 0)
    is_young: bool = False

    def __post_init__(self) -> None:
        self.may_lead = max(self.unseen // MOST_LEADING_PART, MOST_BARREN_PAGES)

    @property
    def is_barren(self) -> bool:
        """Whether pages do not pay any more."""
        most = max(MOST_BARREN_PAGES, self.unseen // MOST_BARREN_PART)
        if self.is_whole:
            return self.barren >= most
        costs_as_much = self.barren + self.led >= max(self.unseen, 1)
        return costs_as_much or self.barren >= most or self.led >= self.may_lead

    @property
    def is_disordered(self) -> bool:
        """Whether the list does not have the newest job first."""
        ordered, pairs = self.in_order
        return pairs >= LEAST_PAIRS and ordered < LEAST_IN_ORDER * pairs

    @property
    def is_telling(self) -> bool:
        """Whether what was not seen is not in the list, as far as that was read."""
        return self.is_whole or not (self.has_passed or self.is_disordered)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to be seen by reading on."""
        is_lost = self.is_disordered and not self.is_whole
        return self.unseen <= 0 or self.has_ended or self.is_barren or is_lost

    def read_all(self) -> None:
        """Pass over nothing any more, and go back to the top for what was passed over."""
        self.is_whole, self.has_ended = True, False
        if self.has_passed:
            self.skip, self.has_passed = 0, False
            self.barren, self.known, self.came = 0, frozenset(), 0

    def hold(self, kit: Kit, session: Session, **values: object) -> None:
        """Set down how far the list was read, and other columns, as long as this is its turn.

        Raises:
            ClaimLost: this took too long, and another worker reads on.
        """
        mine = session.execute(
            update(Survey)
            .where(Survey.account == kit.slicer.owner, Survey.claim == self.claim)
            .values(self.on_record() | values)
            .returning(Survey.account)
            .execution_options(synchronize_session=False)
        ).first()
        if mine is None:
            raise ClaimLost

    def leave(self, kit: Kit, *, until: datetime | None = None) -> None:
        """Let whoever comes next read on; nobody does before `until`."""
        with kit.sessions.begin() as session:
            self.hold(kit, session, claim=None, claimed_until=until or kit.now())

    def end(
        self, kit: Kit, *, rest: timedelta | None, why: str | None, until: datetime | None = None
    ) -> None:
        """Set down that it is over; what it did not show is to be asked for one by one.

        Args:
            kit: what to work with.
            rest: how long the list is let be.
            why: what is wrong with it.
            until: nobody begins another before; None: at once.
        """
        if why is not None:
            _log.warning("jobs are asked for one by one", message=why)
        now = kit.now()
        rests_until = now + rest if rest is not None else None
        over = {"claim": None, "begun_at": None, "read_by": self.begun_at}
        self.skip = self.unseen = self.barren = 0
        self.has_passed = self.is_whole = self.has_found = False
        with kit.sessions.begin() as session:
            self.hold(
                kit,
                session,
                **over,
                claimed_until=until or now,
                rests_until=rests_until,
                why=why,
            )

    def pass_over(
        self, kit: Kit, session: Session, newest: datetime, oldest: datetime, *, shown: int = 0
    ) -> None:
        """Pass over the jobs between two times, of which none is due and all are in the list.

        So many of them were `shown` already.
        But for a quarter of a page or more, for what the list may lack. Pages begin at the same
        places each time, so that those which are seen together once stay together.
        """
        number = places.between(session, newest, oldest, account=kit.slicer.owner) - shown
        size = kit.page_size.size
        step = max(size // 2, 1)
        place = (self.skip + number - size // 4) // step * step
        if place > self.skip:
            self.skip, self.has_passed, self.came = place, True, 0

    def on_record(self) -> dict[str, object]:
        """Return the columns by which another can read on."""
        return {
            "skip": self.skip,
            "has_passed": self.has_passed,
            "is_whole": self.is_whole,
            "unseen": max(self.unseen, 0),
            "barren": self.barren,
            "has_found": self.has_found,
        }


def begin(kit: Kit, seen: Seen) -> Reading | None:
    """Return this worker's reading.

    None where another is at it, the list is let be, or what the last reading did not show is still
    to be asked for.
    """
    now, account = kit.now(), kit.slicer.owner
    with kit.sessions.begin() as session:
        inserted(session, Survey(account=account, skip=0))
        row = session.get_one(Survey, account, with_for_update=True)
        if row.rests(now):
            seen.due_by = now
            return None
        if row.claimed_until is not None and row.claimed_until > now:
            seen.busy_until = row.claimed_until
            return None
        if _is_missing(session, row, now):
            seen.due_by = row.read_by
            return None
        reading = _left(session, row, now) or _new(kit, session, now)
        for name, value in reading.on_record().items():
            setattr(row, name, value)
        row.claim, row.claimed_until, row.begun_at = reading.claim, now + TURN, reading.begun_at
        row.rests_until = row.why = None
        return reading


def _is_missing(session: Session, row: Survey, now: datetime) -> bool:
    """Return whether what the last reading did not show is still due, and goes first."""
    if row.begun_at is not None or row.read_by is None or row.claimed_until is None:
        return False
    lasts = min(max(row.claimed_until - row.read_by, LEAST_MISSING), MOST_MISSING)
    if now - row.claimed_until > lasts:
        return False
    return places.due(session, by=row.read_by, account=row.account).number > 0


def _left(session: Session, row: Survey, now: datetime) -> Reading | None:
    """Return the reading that was left, to go on with; None where that was long ago.

    A place in a list that has moved on since is none.
    """
    if row.begun_at is None or row.claimed_until is None or now - row.claimed_until > FRESH:
        return None
    due = places.due(session, by=row.begun_at, account=row.account).number
    if not due:
        return None
    return Reading(
        uuid4(),
        row.begun_at,
        min(due, row.unseen or due),  # the release before set down none
        now,
        row.skip,
        has_passed=row.has_passed,
        is_whole=row.is_whole,
        barren=row.barren,
        has_found=row.has_found,
    )


def _new(kit: Kit, session: Session, now: datetime) -> Reading:
    due = places.due(session, by=now, account=kit.slicer.owner)
    reading = Reading(uuid4(), now, due.number, now)
    if due.newest is not None:
        reading.pass_over(kit, session, now - UNLISTED, due.newest)
    return reading
