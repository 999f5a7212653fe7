"""Pruning: what is older than it is to be kept for is deleted, a part at a time."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from models import Cleaning, pruning, turns
from models.database import inserted
from models.pruning import Aged, Place
from worker.logs import get_logger
from worker.steps.kit import Kit

# How often it is looked for what is old: ages are told in days.
EVERY = timedelta(hours=1)
# So much goes in one transaction, and so many transactions, or so long, are one message's.
ROWS_AT_ONCE = 200
MOST_TRANSACTIONS = 50
MOST_TIME = timedelta(seconds=5)
# Turns go at once: to find them is to look through all that is under way.
MOST_TURNS = 10_000

_log = get_logger(__name__)


class _Share:
    """How much one message may do yet."""

    def __init__(self, kit: Kit) -> None:
        self._kit, self._until = kit, kit.now() + MOST_TIME
        self._left = MOST_TRANSACTIONS

    def take(self) -> bool:
        """Return whether one more transaction may be made."""
        self._left -= 1
        return self._left >= 0 and self._kit.now() < self._until and not self._kit.stopping()


def is_due(kit: Kit, session: Session) -> bool:
    """Return whether it is to be looked for what is old; at first that is an hour from now on."""
    row = session.get(Cleaning, kit.slicer.owner)
    if row is None:
        inserted(session, Cleaning(account=kit.slicer.owner, due_at=kit.now() + EVERY))
    return row is not None and row.due_at <= kit.now()


def prune(kit: Kit) -> tuple[dict[str, int], bool]:
    """Delete what is old; returns how many rows of what, and whether there is more."""
    if not _begun(kit):
        return {}, False
    share, found = _Share(kit), dict[str, int]()
    work = (
        ("turns", _turns),
        ("exports", _exports),
        ("requests", _requests),
        ("history", _history),
    )
    is_over = True
    for what, part in work:
        number, ended = part(kit, share)
        found |= {what: number} if number else {}
        is_over = is_over and ended
    if found:
        _log.info("records deleted", message=", ".join(f"{n} {what}" for what, n in found.items()))
    if not is_over:
        _update(kit, due_at=kit.now())
    return found, not is_over


def _begun(kit: Kit) -> bool:
    """Return whether it is this worker's to look; then nobody else does for an hour."""
    now = kit.now()
    with kit.sessions.begin() as session:
        mine = session.execute(
            update(Cleaning)
            .where(Cleaning.account == kit.slicer.owner, Cleaning.due_at <= now)
            .values(due_at=now + EVERY)
            .returning(Cleaning.account)
            .execution_options(synchronize_session=False)
        )
        return mine.first() is not None


def _update(kit: Kit, **values: datetime) -> None:
    with kit.sessions.begin() as session:
        session.execute(
            update(Cleaning)
            .where(Cleaning.account == kit.slicer.owner)
            .values(**values)
            .execution_options(synchronize_session=False)
        )


def _turns(kit: Kit, share: _Share) -> tuple[int, bool]:
    """Forget requesters who want nothing: their turns begin anew when they do."""
    if not share.take():
        return 0, False
    with kit.sessions.begin() as session:
        turns.lock(session)
        gone = turns.forget_idle(session, kit.slicer.owner, limit=MOST_TURNS)
    return gone, gone < MOST_TURNS


def _history(kit: Kit, share: _Share) -> tuple[int, bool]:
    """Delete the history of exports that ended long ago.

    How far that has come is on record: nothing ends in the past, so what lies before is done with.
    """
    if kit.settings.keep_history is None:
        return 0, True
    before = kit.now() - kit.settings.keep_history
    with kit.sessions.begin() as session:
        row = session.get(Cleaning, kit.slicer.owner)
    at = (row.history_until if row else None) or Place().at
    gone = 0
    while at < before:
        if not share.take():
            return gone, False
        with kit.sessions.begin() as session:
            page = _page(kit, session, at, before)
            gone += pruning.remove_history(session, [each.id for each in page], before=before)
        at = _next(page, at, before)
        _update(kit, history_until=at)
    return gone, True


def _page(kit: Kit, session: Session, at: datetime, before: datetime) -> Sequence[Aged]:
    """Return the next exports that ended, in whatever way."""
    found: list[Aged] = []
    for ended in pruning.ENDED:
        found += pruning.old_exports(
            session,
            Place(at),
            ended=ended,
            account=kit.slicer.owner,
            before=before,
            limit=ROWS_AT_ONCE,
        )
    return sorted(found, key=lambda each: each.at)[:ROWS_AT_ONCE]


def _next(page: Sequence[Aged], at: datetime, before: datetime) -> datetime:
    """Return where the next page begins; it is always further on, whatever ended together."""
    if len(page) < ROWS_AT_ONCE:
        return before
    last: datetime = page[-1].at
    return max(last, at + timedelta(microseconds=1))


def _exports(kit: Kit, share: _Share) -> tuple[int, bool]:
    """Delete exports that ended long ago, with all that hangs on them."""
    if kit.settings.keep_records is None:
        return 0, True
    account, before = kit.slicer.owner, kit.now() - kit.settings.keep_records
    keeps_jobs = kit.settings.delete_jobs_after is not None
    gone, is_over = 0, True
    for ended in pruning.ENDED:
        page = partial(
            pruning.old_exports,
            ended=ended,
            account=account,
            before=before,
            limit=ROWS_AT_ONCE,
            only=pruning.is_free(keeps_jobs=keeps_jobs),
        )
        remove = partial(pruning.remove_exports, before=before, keeps_jobs=keeps_jobs)
        number, at_end = _walk(kit, share, page, remove)
        gone, is_over = gone + number, is_over and at_end
    return gone, is_over


def _requests(kit: Kit, share: _Share) -> tuple[int, bool]:
    """Delete requests that were refused long ago, or withdrawn before they came."""
    if kit.settings.keep_records is None:
        return 0, True
    before = kit.now() - kit.settings.keep_records
    page = partial(pruning.old_requests, before=before, limit=ROWS_AT_ONCE)
    return _walk(kit, share, page, pruning.remove_requests)


def _walk(
    kit: Kit,
    share: _Share,
    page: Callable[[Session, Place], Sequence[Aged]],
    remove: Callable[[Session, Collection[Any]], set[Any]],
) -> tuple[int, bool]:
    """Go through rows by their age and remove them; what stays after all is passed over.

    Returns:
        How many are gone, and whether the end was reached.
    """
    place, gone = Place(), 0
    while share.take():
        with kit.sessions.begin() as session:
            rows = page(session, place)
            removed = remove(session, [row.id for row in rows]) if rows else set()
        gone += len(removed)
        place = place.behind([row for row in rows if row.id not in removed])
        if len(rows) < ROWS_AT_ONCE:
            return gone, True
    return gone, False
