"""Poll: Uplynk is asked how the jobs are that are due for a look, together or one by one."""

from datetime import datetime

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from models import Export, State, Survey, claims, places
from models.database import autocommitted
from worker.cloudslicer.allowance import Kind
from worker.steps import probe
from worker.steps.kit import Kit
from worker.steps.look import look
from worker.steps.reading import Seen
from worker.steps.report import Report, Step, Wake
from worker.steps.survey import LEAST_PART, survey

# One message looks at so many jobs one by one at the most, and goes on for half a claim: then other
# short steps get their turn. What was claimed and not looked at is given back.
MOST_AT_ONCE = 50
# With more than so many under way one that is due waits for others (`Settings.company`), and even
# for one the list is read: a page that shows it costs the same, and brings them together.
COMPANY = 10
# With fewer under way so few that are due are asked for one by one.
FEW = 2


def poll(kit: Kit) -> Report:
    """Look at the jobs that are due, set down what was learned, and say when to look next."""
    if away_until := probe.away_until(kit):
        return Report({"uplynk": "away"}, (Wake(Step.POLL, at=away_until),))
    begun, account = kit.now(), kit.slicer.owner
    until = begun + kit.settings.claim / 2
    with autocommitted(kit.sessions) as session:
        due = places.due(session, by=begun, account=account).number
        under_way = claims.count(session, (State.EXPORTING,), account=account)
        has_company = due > 0 and under_way > COMPANY
        company_by = _company_by(kit, session, due, under_way) if has_company else None
    wakes: list[Wake] = []
    # what is to be stopped waits neither for others nor for a long list
    looked = _one_by_one(kit, wakes, until=until, only=claims.IS_UNWANTED) if due else 0
    seen = Seen(due_by=begun)
    if company_by is not None and company_by > begun:
        # others are due in a moment, and all together cost less
        seen = Seen(busy_until=company_by)
    elif due > FEW or has_company:
        seen = survey(kit, until=until)
    if seen.due_by is not None:
        looked += _one_by_one(kit, wakes, until=until, only=claims.DUE_BY, by=seen.due_by)
    with autocommitted(kit.sessions) as session:
        again = claims.next_due(session, State.EXPORTING, account=account)
    if again is not None and not kit.stopping():
        # what is due and could not be taken is in somebody's hands: don't run against it
        least = begun if looked or seen.pages else begun + kit.settings.poll_min
        wakes.append(Wake(Step.POLL, at=max(again, seen.busy_until or least)))
    wakes += seen.wakes
    done = sum(wake.step is Step.DOWNLOAD for wake in wakes)
    took = looked + seen.looked
    facts = {"looked": took, "done": done} | ({"pages": seen.pages} if seen.pages else {})
    return Report(facts, tuple(wakes), took)


def _company_by(kit: Kit, session: Session, due: int, under_way: int) -> datetime | None:
    """Return until when so many that are due wait for others; None if they don't.

    That is no longer than until a page is due, or a part of very many, or half of all: so the last
    of many, too few for a page, are not looked at much less often than the others.
    """
    account = kit.slicer.owner
    first = claims.next_due(session, State.EXPORTING, account=account)
    row = session.get(Survey, account)
    if first is None or (row is not None and row.has_left(first)):
        return None
    longest = first + kit.settings.company
    if row is not None and row.rests(kit.now()):
        return longest  # each of them costs a call
    part = max(kit.page_size.size, under_way // LEAST_PART)
    enough = min(part, (under_way + 1) // 2)
    if due >= enough:
        return None
    last = claims.next_due(session, State.EXPORTING, account=account, nth=enough)
    return longest if last is None else min(last, longest)


def _one_by_one(
    kit: Kit,
    wakes: list[Wake],
    *,
    until: datetime,
    only: ColumnElement[bool],
    by: datetime | None = None,
) -> int:
    """Look at jobs that are due, and add what is to be woken; returns how many were looked at."""
    now = kit.now()
    with autocommitted(kit.sessions) as session:
        due = claims.take(
            session,
            State.EXPORTING,
            now=now,
            until=now + kit.settings.call_claim,
            limit=MOST_AT_ONCE,
            account=kit.slicer.owner,
            only=only,
            by=by,
        )
    looked = 0
    while due and kit.now() < until and not (kit.stopping() or kit.circuit.is_open):
        if not kit.allowance.take(Kind.POLL):
            break
        wakes += look(kit, due.pop(0))
        looked += 1
    _give_back(kit, due, due_at=by or now)
    return looked


def _give_back(kit: Kit, exports: list[Export], *, due_at: datetime) -> None:
    """Free what was claimed and not looked at, for the next message."""
    if not exports:
        return
    with kit.sessions.begin() as session:
        for export in exports:
            if held := claims.held(session, export.id, export.claim):
                held.release(due_at=due_at)
