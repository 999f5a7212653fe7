"""Bulk: many requests are set down together, in a few statements and one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from models import (
    Audio,
    Batch,
    Export,
    History,
    Request,
    State,
    admission,
    claims,
    outbox,
    turns,
)
from models.database import inserted
from models.export import IS_UNDER_WAY, beginning_of, row_of
from models.insertion import insert_many
from worker.errors import Transient
from worker.steps.create import join
from worker.steps.wish import Wish

# So many at the most go into one transaction.
MOST_AT_ONCE = 1000
MOST_RACES = 5

# So much later the next one of a list is, in whose order they go.
_MOMENT = timedelta(microseconds=1)

_DEADLOCK = "40P01"  # deadlock_detected (PostgreSQL's manual, appendix A)
# An export is told by these, beside its account.
_Key = tuple[str, Audio]


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that is to be set down: its id, and what it asks for."""

    request_id: str
    wish: Wish

    @property
    def key(self) -> _Key:
        """Return what tells its export from others of the account."""
        return self.wish.asset, self.wish.audio


class Outcome(StrEnum):
    """What became of an entry."""

    NEW = "new"  # an export was begun for it
    SHARED = "shared"  # it shares one that is under way
    STORED = "stored"  # its file is in storage already
    KNOWN = "known"  # the very request is on record already, of the same batch
    ELSEWHERE = "elsewhere"  # the very request is on record already, and of another batch or none
    CLASH = "clash"  # its id is that of a request for something else, or that began nothing


@dataclass(frozen=True, slots=True)
class Batchful:
    """Where entries belong, and how they are taken.

    Attributes:
        account: whose assets they are, by its user id.
        batch: the name of the list that they are of.
        since: what was exported before then is to be exported, and paid for, again; None: is not.
    """

    account: str
    batch: str
    since: datetime | None = None


def record(
    sessions: sessionmaker[Session], where: Batchful, entries: Sequence[Entry], *, now: datetime
) -> list[Outcome]:
    """Set down these requests, each as `create` would; returns what became of each.

    A request whose file is stored already is one for that file, and costs nothing; unless that is
    older than `since`. The same entries again change nothing. Where others make the same at this
    very moment, the rest is set down in smaller parts.

    Args:
        sessions: opens a session on the database.
        where: what they have in common.
        entries: up to MOST_AT_ONCE, no two of one id.
        now: the time.

    Raises:
        Transient: others made the same requests and exports at the same moment, again and again.
    """
    return _in_parts(sessions, where, list(enumerate(entries)), now, MOST_RACES)


def _in_parts(
    sessions: sessionmaker[Session],
    where: Batchful,
    entries: Sequence[tuple[int, Entry]],
    now: datetime,
    races_left: int,
) -> list[Outcome]:
    """Set down these entries, each with its number; in halves where a race was lost."""
    try:
        with sessions.begin() as session:
            return _recorded(session, where, entries, now)
    except IntegrityError:
        pass  # what others have just set down is known by now
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != _DEADLOCK:
            raise
    if len(entries) > 1:
        middle = len(entries) // 2
        parts = (entries[:middle], entries[middle:])
        return [one for part in parts for one in _in_parts(sessions, where, part, now, races_left)]
    if not races_left:
        raise Transient("races_lost", "a request is made by others faster than can be told")
    return _in_parts(sessions, where, entries, now, races_left - 1)


def open_batch(sessions: sessionmaker[Session], name: str, *, account: str, now: datetime) -> Batch:
    """Return the batch of this name, made now unless it is there already."""
    with sessions.begin() as session:
        inserted(session, Batch(name=name, account=account, created_at=now))
        return session.get_one(Batch, name)


def look(session: Session, where: Batchful, entries: Sequence[Entry]) -> list[Outcome]:
    """Return what would become of these entries, as things stand; nothing is changed or locked."""
    outcomes = _known(session, where.batch, entries)
    fresh = [entry for entry in entries if entry.request_id not in outcomes]
    begun = {_key(each) for each in under_way(session, where.account, fresh)}
    there = stored(session, where, fresh)
    for entry in fresh:
        if entry.key in begun:
            outcomes[entry.request_id] = Outcome.SHARED
        elif entry.key in there:
            outcomes[entry.request_id] = Outcome.STORED
        else:
            outcomes[entry.request_id] = Outcome.NEW
            begun.add(entry.key)
    return [outcomes[entry.request_id] for entry in entries]


def _recorded(
    session: Session, where: Batchful, numbered: Sequence[tuple[int, Entry]], now: datetime
) -> list[Outcome]:
    entries = [entry for _, entry in numbered]
    outcomes = _known(session, where.batch, entries)
    fresh = [entry for entry in entries if entry.request_id not in outcomes]
    numbers = {entry.request_id: number for number, entry in numbered}
    exports = {_key(each): each for each in under_way(session, where.account, fresh, lock=True)}
    there = stored(session, where, fresh)
    for requester in sorted({entry.wish.by for entry in fresh}):
        turns.enter(session, where.account, requester)
    paused = admission.who_is_paused(session, where.account)
    begun: list[Export] = []
    requests: list[dict[str, Any]] = []
    for entry in fresh:
        moment = now + numbers[entry.request_id] * _MOMENT  # their order is the list's
        if export := exports.get(entry.key):
            join(session, export, entry.wish.priority, entry.wish.by, paused=paused)
            outcome, export_id = Outcome.SHARED, export.id
        elif entry.key in there:
            outcome, export_id = Outcome.STORED, there[entry.key]
        else:
            export = Export.begun(**entry.wish.begins(where.account, now=moment))
            exports[entry.key] = export
            begun.append(export)
            outcome, export_id = Outcome.NEW, export.id
        outcomes[entry.request_id] = outcome
        row = entry.wish.row(entry.request_id, now=moment)
        requests.append({**row, "batch": where.batch, "export_id": export_id})
    # two lists with the same assets wait for each other, and don't stand crosswise
    insert_many(session, Export, [row_of(export) for export in sorted(begun, key=_key)])
    insert_many(session, History, [beginning_of(export) for export in begun])
    insert_many(session, Request, requests)
    there_already = [name for name, outcome in outcomes.items() if outcome is Outcome.STORED]
    outbox.tell_each(session, there_already, at=now)
    return [outcomes[entry.request_id] for entry in entries]


def _known(session: Session, batch: str, entries: Sequence[Entry]) -> dict[str, Outcome]:
    """Return, by id, what is to be said of the requests that are on record already."""
    wanted = {entry.request_id: entry.key for entry in entries}
    rows = session.execute(
        select(Request.id, Request.asset, Request.audio, Request.export_id, Request.batch).where(
            Request.id.in_(wanted)
        )
    )
    outcomes = {}
    for request_id, asset, audio, export_id, its_batch in rows:
        if export_id is None or (asset, audio) != wanted[request_id]:
            outcomes[request_id] = Outcome.CLASH
        else:
            outcomes[request_id] = Outcome.KNOWN if its_batch == batch else Outcome.ELSEWHERE
    return outcomes


def under_way(
    session: Session, account: str, entries: Sequence[Entry], *, lock: bool = False
) -> Sequence[Export]:
    """Return the exports of these assets that are under way."""
    rows = (
        select(Export)
        .where(Export.account == account, Export.asset.in_(_assets(entries)), IS_UNDER_WAY)
        .order_by(Export.asset, Export.audio)
        .execution_options(populate_existing=True)
    )
    return session.scalars(rows.with_for_update() if lock else rows).all()


def stored(session: Session, where: Batchful, entries: Sequence[Entry]) -> Mapping[_Key, UUID]:
    """Return the newest stored export of each that has one that may be taken."""
    query = select(Export.state_since, Export.asset, Export.audio, Export.id).where(
        claims.in_state(State.STORED),
        Export.account == where.account,
        Export.asset.in_(_assets(entries)),
    )
    if where.since is not None:
        query = query.where(Export.created_at >= where.since)
    rows = session.execute(query).all()
    oldest_first = sorted(rows, key=lambda row: row.state_since)
    return {(row.asset, row.audio): row.id for row in oldest_first}


def _key(export: Export) -> _Key:
    return export.asset, export.audio


def _assets(entries: Sequence[Entry]) -> list[str]:
    return sorted({entry.wish.asset for entry in entries})
