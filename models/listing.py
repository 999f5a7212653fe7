"""Listing: the requests that somebody looks for, a page at a time and by index.

A page begins after the last row of the one before, by that row's time and id: what is added in the
meantime neither moves a row into the next page nor out of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    SQLColumnExpression,
    TextClause,
    and_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session

from models import claims
from models.export import IS_STORED, IS_WITHOUT_FILE, Export
from models.request import REFUSED, Request
from models.state import UNDER_WAY, State

_Time = SQLColumnExpression[datetime] | SQLColumnExpression[datetime | None]


class Sort(StrEnum):
    """The time by which requests are sorted."""

    CREATED = "created"  # when they came
    CHANGED = "changed"  # when they came into the state that they are in


class Place(NamedTuple):
    """Where a page ends: the time and the id of its last row."""

    at: datetime
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which requests are looked for; None of a filter lets all pass.

    Attributes:
        state: that they are in.
        code: that they failed or were cancelled with.
        asset: that they are for.
        requester: who asked.
        batch: that they are of.
        since: the earliest time, of that by which they are sorted.
        until: the time that it is before.
        sort: by which time.
        oldest_first: else the newest.
        after: only what comes after this.
        limit: the most of them.
    """

    state: State | None = None
    code: str | None = None
    asset: str | None = None
    requester: str | None = None
    batch: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    sort: Sort = Sort.CREATED
    oldest_first: bool = False
    after: Place | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """A request as it is listed.

    Attributes:
        request: the request.
        at: the time by which it is sorted.
    """

    request: Request
    at: datetime

    @property
    def place(self) -> Place:
        """Where a page ends that it is the last of."""
        return Place(self.at, self.request.id)


def listed(session: Session, wanted: Wanted) -> Sequence[Listed]:
    """Return a page of the requests that are looked for."""
    return page(session, wanted, accounts(session))


def accounts(session: Session) -> Sequence[str]:
    """Return the accounts of all exports that have ended."""
    found: set[str] = set()
    for ended in (IS_STORED, IS_WITHOUT_FILE):
        account = next_account(session, ended, after="")
        while account is not None:
            found.add(account)
            account = next_account(session, ended, after=account)
    return sorted(found)


def next_account(session: Session, ended: TextClause, *, after: str) -> str | None:
    """Return the next account by name that has an export which ended so, if there is one more."""
    rows = select(Export.account).where(ended, Export.account > after)
    return session.scalar(rows.order_by(Export.account).limit(1))


def page(session: Session, wanted: Wanted, accounts: Sequence[str]) -> Sequence[Listed]:
    """Return the same, where the `accounts` are known of which exports have ended."""
    some = [_part(query, time, wanted) for query, time in _kinds(wanted, accounts)]
    found = union_all(*(select(each.subquery()) for each in some)).subquery()
    rows = (
        select(Request, found.c.at)
        .join(found, Request.id == found.c.id)
        .order_by(*_order(wanted, found.c.at, found.c.id))
        .limit(wanted.limit)
    )
    return [Listed(request, at) for request, at in session.execute(rows).all()]


def _kinds(wanted: Wanted, accounts: Sequence[str]) -> Iterator[tuple[Select[Any], _Time]]:
    """Give the kinds of requests that are meant, each with the time that its index sorts by.

    One condition for all of them is none that an index could meet.
    """
    every = select(Request.id).where(*_conditions(wanted))
    by_creation = wanted.sort is Sort.CREATED
    if by_creation and wanted.state is None and wanted.code is None:
        yield every, Request.created_at
        return
    is_live = Request.cancelled_at.is_(None)
    of_exports = every.join(Export, Request.export_id == Export.id).where(is_live)
    for export in _exports(wanted, accounts):
        yield of_exports.where(*export), Request.created_at if by_creation else Export.state_since
    if wanted.state in {None, State.FAILED} and wanted.code in {None, REFUSED}:
        yield every.where(Request.export_id.is_(None), is_live), Request.created_at
    if wanted.state in {None, State.CANCELLED} and wanted.code is None:
        withdrawn = every.where(Request.cancelled_at.is_not(None))
        yield withdrawn, Request.created_at if by_creation else Request.cancelled_at


def _exports(wanted: Wanted, accounts: Sequence[str]) -> Iterator[list[Any]]:
    """Give the conditions of the kinds of exports that are meant."""
    states = State if wanted.state is None else (wanted.state,)
    if wanted.code is not None:
        is_state = () if wanted.state is None else (claims.in_state(wanted.state),)
        yield [Export.error_code == wanted.code, IS_WITHOUT_FILE, *is_state]
        return
    for state in states:
        if state in UNDER_WAY:  # they are no more than are worked off at once
            yield [claims.in_state(state), Export.due_at.is_not(None)]
        elif state is State.STORED:
            yield from ([IS_STORED, Export.account == account] for account in accounts)
        else:
            ended = (IS_WITHOUT_FILE, claims.in_state(state))
            yield from ([*ended, Export.account == account] for account in accounts)


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.asset is not None:
        yield Request.asset == wanted.asset
    if wanted.requester is not None:
        yield and_(Request.requester == wanted.requester, Request.requester != "")
    if wanted.batch is not None:
        yield Request.batch == wanted.batch


def _part(query: Select[Any], time: _Time, wanted: Wanted) -> Select[Any]:
    """Return the query of one kind's part of a page: no more of it can be in the whole."""
    if wanted.since is not None:
        query = query.where(time >= wanted.since)
    if wanted.until is not None:
        query = query.where(time < wanted.until)
    if wanted.after is not None:
        last, here = tuple_(*wanted.after), tuple_(time, Request.id)
        # of the two conditions the second says all, and the first is what an index can meet
        if wanted.oldest_first:
            query = query.where(time >= wanted.after.at, here > last)
        else:
            query = query.where(time <= wanted.after.at, here < last)
    query = query.add_columns(time.label("at"))
    return query.order_by(*_order(wanted, time, Request.id)).limit(wanted.limit)


def _order(wanted: Wanted, *columns: SQLColumnExpression[Any]) -> list[ColumnElement[Any]]:
    return [column.asc() if wanted.oldest_first else column.desc() for column in columns]
