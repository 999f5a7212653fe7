"""Batches: lists of requests are set down, and what became of them is summed up."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import and_, case, func, select, tuple_
from sqlalchemy.orm import Session, sessionmaker

from models import Batch, Export, Request, State, claims
from models.state import TERMINAL
from worker import records, tables
from worker.errors import SettingsError
from worker.lists import Line
from worker.settings import AccountSettings
from worker.steps import bulk
from worker.steps.bulk import Batchful, Outcome
from worker.steps.governor import LATELY, LEAST_LATELY

# Where a request stands, as Request.state says it.
_STATE = case(
    (Request.cancelled_at.is_not(None), str(State.CANCELLED)),
    (Request.export_id.is_(None), str(State.FAILED)),
    else_=Export.state,
)

_ROWS = 1000
# What a manifest in CSV tells.
COLUMNS = (
    "request_id",
    "asset",
    "audio",
    "state",
    "storage_url",
    "size_bytes",
    "sha256",
    "duration_seconds",
    "captions_url",
    "webvtt_url",
    "error_code",
    "error_message",
    "export_id",
    "job_id",
    "requester",
    "priority",
    "created_at",
    "metadata",
)


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of a batch.

    Attributes:
        name: the batch's.
        created_at: when its first list came.
        states: how many of its requests stand in each state.
        codes: how many failed with each code.
        size_bytes: of the files that are stored.
        seconds: how long these films last.
        lately: how many were stored in the last hour, and since when the first of these was.
    """

    name: str
    created_at: datetime
    states: Mapping[State, int]
    codes: Mapping[str, int]
    size_bytes: int
    seconds: float
    lately: tuple[int, timedelta]

    @property
    def requests(self) -> int:
        """How many there are."""
        return sum(self.states.values())

    @property
    def left(self) -> int:
        """How many have not ended yet."""
        return sum(number for state, number in self.states.items() if state not in TERMINAL)

    @property
    def stored(self) -> int:
        """How many have their file."""
        return self.states.get(State.STORED, 0)

    @property
    def time_left(self) -> timedelta | None:
        """How long what is left takes at the rate of the last hour; None if that can't be told."""
        return time_left(self.left, self.lately)


def time_left(left: int, lately: tuple[int, timedelta]) -> timedelta | None:
    """Return how long so many take, if lately so many were done in such a time."""
    number, seconds = lately
    if not left:
        return timedelta()
    return left * max(seconds, LEAST_LATELY) / number if number else None


def record(
    settings: AccountSettings, name: str, lines: Iterable[Line], *, again: bool
) -> Iterator[tuple[Line, Outcome | None]]:
    """Set down the requests of a list; gives what became of each line, some at a time.

    There is no outcome of a line that is wrong, or repeats another. What was given is on record:
    who stops between may begin anew. `again` has exported what was stored before the batch began.

    Raises:
        SettingsError: the batch is another account's.
    """
    with records.opened(settings) as (sessions, now):
        where = None
        for some in chunks(lines):
            if where is None:
                batch = bulk.open_batch(sessions, name, account=settings.uplynk_user_id, now=now())
                where = in_batch(settings, batch, again=again)
            entries = [line.entry for line in some if line.entry and line.repeats is None]
            outcomes = iter(bulk.record(sessions, where, entries, now=now()))
            for line in some:
                yield line, next(outcomes) if line.entry and line.repeats is None else None


def in_batch(settings: AccountSettings, batch: Batch, *, again: bool) -> Batchful:
    """Return where the entries of a batch belong, and how they are taken.

    Raises:
        SettingsError: the batch is another account's.
    """
    if batch.account != settings.uplynk_user_id:
        raise SettingsError(
            f"batch {batch.name} is one of account {batch.account}; name another --batch, or set"
            " UPLYNK_USER_ID to that"
        )
    return Batchful(batch.account, batch.name, since=batch.created_at if again else None)


def chunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Give the lines, so many at a time as are taken together."""
    iterator = iter(lines)
    while some := list(islice(iterator, bulk.MOST_AT_ONCE)):
        yield some


def every(session: Session) -> Sequence[Batch]:
    """Return all batches, the newest first."""
    return session.scalars(select(Batch).order_by(Batch.created_at.desc())).all()


def lately(session: Session, account: str, *, now: datetime) -> tuple[int, timedelta]:
    """Return how many files were stored in the last hour, and since when the first of these was."""
    number, first = claims.stored_since(session, now - LATELY, account=account)
    return number, now - (first or now)


def totals(session: Session, batch: Batch, *, now: datetime) -> Totals:
    """Return what became of a batch."""
    is_stored = and_(Export.state == State.STORED, Request.cancelled_at.is_(None))
    is_late = and_(is_stored, Export.state_since > now - LATELY)
    code = func.coalesce(Request.error_code, Export.error_code)
    rows = session.execute(
        select(
            _STATE.label("state"),
            code.label("code"),
            func.count().label("requests"),
            func.sum(Export.size_bytes).filter(is_stored).label("size_bytes"),
            func.sum(Export.duration_seconds).filter(is_stored).label("seconds"),
            func.count().filter(is_late).label("lately"),
            func.min(Export.state_since).filter(is_late).label("first"),
        )
        .select_from(Request)
        .outerjoin(Export, Request.export_id == Export.id)
        .where(Request.batch == batch.name)
        .group_by(_STATE, code)
    ).all()
    states, codes = Counter[State](), Counter[str]()
    for row in rows:
        states[State(row.state)] += row.requests
        if row.state == State.FAILED:
            codes[row.code or "unknown"] += row.requests
    first = min((row.first for row in rows if row.first is not None), default=now)
    return Totals(
        name=batch.name,
        created_at=batch.created_at,
        states=states,
        codes=codes,
        size_bytes=int(sum(row.size_bytes or 0 for row in rows)),
        seconds=float(sum(row.seconds or 0 for row in rows)),
        lately=(sum(row.lately for row in rows), now - first),
    )


def ids(session: Session, name: str, states: Collection[State]) -> Sequence[str]:
    """Return the ids of those requests of a batch that stand in one of `states`."""
    rows = select(Request.id).outerjoin(Export, Request.export_id == Export.id)
    is_meant = (Request.batch == name, _STATE.in_([str(state) for state in states]))
    return session.scalars(rows.where(*is_meant).order_by(Request.created_at)).all()


def manifest(sessions: sessionmaker[Session], name: str) -> Iterator[dict[str, object]]:
    """Give what became of each request of a batch, in the order of its list, as JSON values.

    No transaction is open while somebody is at the values.
    """
    query = select(Request).where(Request.batch == name).limit(_ROWS)
    query = query.order_by(Request.created_at, Request.id)
    last: tuple[datetime, str] | None = None
    while True:
        page = query
        if last is not None:
            page = query.where(tuple_(Request.created_at, Request.id) > last)
        with sessions() as session:
            requests = session.scalars(page).all()
        for request in requests:
            yield tables.as_json(request)
        if len(requests) < _ROWS:
            return
        last = (requests[-1].created_at, requests[-1].id)


def cells(values: Mapping[str, Any]) -> list[object]:
    """Return a line of the manifest as the cells of COLUMNS."""
    error = values["error"] or {}
    own = {
        "error_code": error.get("code"),
        "error_message": error.get("message"),
        "metadata": json.dumps(values["metadata"]),
    }
    return [own.get(name, values.get(name)) for name in COLUMNS]
