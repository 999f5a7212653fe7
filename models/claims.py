"""Claims: the SQL by which due work is taken, held and given back.

A claim is a uuid in the row and a time until which it holds; until then the row is not due. Whoever
holds it takes the step, and records the outcome only if the row still bears the same claim. A
killed worker's claim runs out, and the row is due again; nothing has to be cleaned up. Nothing here
commits.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, cast
from uuid import UUID, uuid4

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    Table,
    and_,
    bindparam,
    case,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import FromStatement, Session
from sqlalchemy.sql.dml import ReturningUpdate

from models.export import Export
from models.state import UNDER_WAY, State

_EXPORTS = cast("Table", Export.__table__)

# Those that no request wants any more.
IS_UNWANTED = Export.unwanted_since.is_not(None)


def in_state(state: State) -> ColumnElement[bool]:
    """Return the condition in so many words, as the partial indexes say it."""
    return Export.state == literal_column(f"'{state}'")


def dialect_of(session: Session) -> str:
    """Return the name of the dialect of the session's database."""
    return session.get_bind().dialect.name


def usual(dialect: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition, with a hint to SQLite that most rows meet it.

    SQLite keeps no statistics: it would take ix_exports_due for the few rows that it expects, and
    sort the whole backlog for each that is taken.
    """
    return func.likely(condition) if dialect == "sqlite" else condition


# What is due, or was done, by a time; `take` is told it as `by`.
DUE_BY = Export.due_at <= bindparam("by")
DONE_BY = Export.done_at <= bindparam("by")

_IS_THIS = Export.id == bindparam("this")
IS_DUE = Export.due_at <= bindparam("now")
IS_OF_ACCOUNT = Export.account == bindparam("of")


@lru_cache
def _due(state: State, dialect: str, *, of_all: bool) -> Select[UUID]:
    # a claimed row is not due before its claim runs out, so this one condition says all
    is_due: ColumnElement[bool] = IS_DUE
    order: tuple[ColumnElement[Any], ...] = (Export.due_at.asc(),)
    if state is State.DOWNLOADING:
        order = (Export.priority.desc(), Export.done_at.asc())
        is_due = usual(dialect, is_due)
    rows = select(Export.id).where(in_state(state), is_due).order_by(*order)
    return rows if of_all else rows.where(IS_OF_ACCOUNT)


@lru_cache
def _due_first(state: State, dialect: str, limit: int, *, of_all: bool) -> Select[UUID]:
    return _due(state, dialect, of_all=of_all).limit(limit)


@lru_cache
def _claimed(
    rows: Select[UUID], only: ColumnElement[bool] | None, limit: int
) -> FromStatement[Export]:
    if only is not None:
        rows = rows.where(only)
    if only is DONE_BY:
        rows = rows.order_by(None).order_by(Export.done_at)
    return loading(_claiming(_chosen(rows, limit)))


def _chosen(rows: Select[UUID], limit: int | None) -> CTE:
    # A CTE that locks rows is run once; as a plain subquery the planner may run it again.
    return rows.limit(limit).with_for_update(skip_locked=True).cte("chosen")


def _claiming(chosen: CTE) -> ReturningUpdate[Any]:
    died = Export.claim.is_not(None)
    return (
        update(_EXPORTS)
        .where(_EXPORTS.c.id.in_(select(chosen.c.id)))
        .values(
            claim=bindparam("token"),
            claimed_until=bindparam("until"),
            due_at=bindparam("until"),
            # a claim that was never given back: its taker died, or met what it did not foresee
            attempts=case((died, Export.attempts + 1), else_=Export.attempts),
            failing_since=case(
                (died, func.coalesce(Export.failing_since, bindparam("now"))),
                else_=Export.failing_since,
            ),
        )
        .returning(*_EXPORTS.c)
    )


def loading(claiming: ReturningUpdate[Any]) -> FromStatement[Export]:
    """Return what gives the exports that the statement claims, as they are then."""
    # the statement is of the table: one of the class is made anew each time that it is sent
    rows = cast("FromStatement[Export]", select(Export).from_statement(claiming))
    return rows.execution_options(populate_existing=True)


@lru_cache
def claiming(state: State) -> tuple[ReturningUpdate[Any], CTE]:
    """Return the statement by which the exports `these` are claimed, and what it chooses of them.

    It is told `these` (their ids), `now`, `until` and the `token` of the claim; it takes none that
    is not due. `loading` gives what it takes.
    """
    these = Export.id.in_(bindparam("these", expanding=True))
    # as a case these are no conditions that an index could meet: with old statistics the planner
    # would read all that is due, instead of going by the ids
    is_due = case((and_(in_state(state), IS_DUE), true()), else_=false())
    chosen = _chosen(select(Export.id).where(these, is_due), None)
    return _claiming(chosen), chosen


def due(
    session: Session,
    state: State,
    *,
    now: datetime,
    limit: int,
    account: str | None = None,
) -> list[UUID]:
    """Return the ids of up to `limit` exports in `state` that are due, in the order of `take`."""
    rows = _due_first(state, dialect_of(session), limit, of_all=account is None)
    return list(session.scalars(rows, {"now": now, "of": account}))


def assets_due(
    session: Session, state: State, *, now: datetime, limit: int, account: str
) -> list[str]:
    """Return the assets of exports that `due` would return, in its order."""
    rows = _due_first(state, dialect_of(session), limit, of_all=False)
    rows = rows.with_only_columns(Export.asset)
    return list(session.scalars(rows, {"now": now, "of": account}))


def take(
    session: Session,
    state: State,
    *,
    now: datetime,
    until: datetime,
    limit: int = 1,
    account: str | None = None,
    only: ColumnElement[bool] | None = None,
    by: datetime | None = None,
) -> list[Export]:
    """Claim up to `limit` exports in `state` that are due; return them as they are, in any order.

    The earliest due are taken first; but of downloads those of the highest priority, and of these
    the one whose job was done first, whatever was tried since: its record goes first. With DONE_BY
    that alone counts.

    A row whose last claim ran out instead of being given back has failed once more by that.
    Rows that another transaction is just taking are passed over, not waited for (SKIP LOCKED on
    PostgreSQL; on SQLite only one transaction writes at a time). All share one fresh claim.

    Args:
        session: in a transaction; `autocommitted` will do.
        state: the state whose step is to be taken.
        now: the time by which a row must be due.
        until: when the claim runs out unless it is renewed.
        limit: how many rows at the most.
        account: those of this account; None for all.
        only: those of which one of this module's conditions is true.
        by: the time that the condition is about, if it is about one.
    """
    rows = _due(state, dialect_of(session), of_all=account is None)
    values: dict[str, object] = {"now": now, "until": until, "token": uuid4(), "of": account}
    if by is not None:
        values["by"] = by
    return list(session.scalars(_claimed(rows, only, limit), values).all())


_RENEWED = (
    update(Export)
    .where(_IS_THIS, Export.claim == bindparam("token"))
    .values(
        claimed_until=bindparam("until"),
        due_at=bindparam("until"),
        bytes_done=bindparam("done"),
        bytes_total=bindparam("total"),
        bytes_per_second=bindparam("rate"),
    )
    .returning(Export.id)
    .execution_options(synchronize_session=False)
)


def renew(
    session: Session,
    export_id: UUID,
    claim: UUID,
    *,
    until: datetime,
    bytes_done: int | None,
    bytes_total: int | None,
    bytes_per_second: float | None = None,
) -> bool:
    """Hold the claim until `until` and set down the progress; False if it is no longer ours."""
    values = {
        "this": export_id,
        "token": claim,
        "until": until,
        "done": bytes_done,
        "total": bytes_total,
        "rate": bytes_per_second,
    }
    return session.execute(_RENEWED, values).first() is not None


_HELD = (
    select(Export)
    .where(_IS_THIS, Export.claim == bindparam("token"))
    .with_for_update()
    .execution_options(populate_existing=True)
)


def held(session: Session, export_id: UUID, claim: UUID | None) -> Export | None:
    """Return the export, locked, if it still bears `claim`; None if somebody else took over.

    An outcome is recorded on what this returns, in the same transaction. Without a claim nothing
    is held: `claim = NULL` would find an export that is free for all.
    """
    if claim is None:
        return None
    return session.scalars(_HELD, {"this": export_id, "token": claim}).one_or_none()


@lru_cache
def counted(states: frozenset[State], *, of_all: bool) -> Select[int]:
    """Return the query for how many exports (of the account `of`) are in one of `states`."""
    rows = select(func.count()).where(Export.state.in_(sorted(states)))
    if UNDER_WAY.issuperset(states):
        # true of them all (see the table's CHECK); said, it lets ix_exports_due count the window
        # without a look at the backlog
        rows = rows.where(Export.due_at.is_not(None))
    return rows if of_all else rows.where(IS_OF_ACCOUNT)


def count(session: Session, states: Collection[State], *, account: str | None = None) -> int:
    """Return how many exports (of `account`) are in one of `states`, due or claimed or neither."""
    rows = counted(frozenset(states), of_all=account is None)
    return session.scalar(rows, {"of": account}) or 0


@lru_cache
def _next_due(state: State, *, of_all: bool) -> Select[datetime | None]:
    rows = select(Export.due_at).where(in_state(state), Export.due_at.is_not(None))
    rows = rows if of_all else rows.where(IS_OF_ACCOUNT)
    return rows.order_by(Export.due_at).offset(bindparam("before")).limit(1)


def next_due(
    session: Session, state: State, *, account: str | None = None, nth: int = 1
) -> datetime | None:
    """Return when the next export in `state` is due (or its claim runs out); None for none.

    With `nth`, when so many are.
    """
    values = {"of": account, "before": nth - 1}
    return session.scalar(_next_due(state, of_all=account is None), values)


def unanswered(session: Session, export_id: UUID) -> Export | None:
    """Return the export, locked, if Uplynk may have been asked for it and no job is known of it.

    One that has ended is none: nobody looks for its job any more.
    """
    return session.scalars(
        select(Export)
        .where(
            Export.id == export_id,
            Export.state.in_((State.REQUESTED, State.SUBMITTING)),
            Export.job_id.is_(None),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def captions_due(session: Session, *, now: datetime, account: str) -> Export | None:
    """Return the stored export whose captions are to be asked for first, locked; None for none."""
    return session.scalars(
        _captions(account)
        .where(Export.captions_due_at <= now)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()


def next_captions_due(session: Session, *, account: str) -> datetime | None:
    """Return when captions are to be asked for again next; None for never."""
    rows = _captions(account).where(Export.captions_due_at.is_not(None))
    return session.scalar(rows.with_only_columns(Export.captions_due_at).limit(1))


def _captions(account: str) -> Select[Export]:
    return select(Export).where(Export.account == account).order_by(Export.captions_due_at)


def of_jobs(
    session: Session, job_ids: Collection[str], *, now: datetime, columns: Sequence[Any]
) -> list[Any]:
    """Return these columns of the exports whose jobs these are and still run, each row locked.

    Rows that somebody has claimed are left out, and those that another transaction is just at.
    """
    # the state is compared here: said in the query, with old statistics, it would have the planner
    # read all that is under way
    there = session.execute(select(Export.id, Export.state).where(Export.job_id.in_(job_ids)))
    running = [export_id for export_id, state in there if state is State.EXPORTING]
    if not running:
        return []
    rows = session.execute(
        select(Export.state, *columns)
        .where(Export.id.in_(running), or_(Export.claim.is_(None), Export.claimed_until <= now))
        .with_for_update(skip_locked=True)
    )
    return [row for row in rows if row.state is State.EXPORTING]


def stored_since(session: Session, since: datetime, *, account: str) -> tuple[int, datetime | None]:
    """Return how many files were stored since then, and when the first of these was."""
    number, first = session.execute(
        select(func.count(), func.min(Export.state_since)).where(
            in_state(State.STORED), Export.state_since > since, Export.account == account
        )
    ).one()
    return number, first


def oldest_done(session: Session, *, account: str) -> datetime | None:
    """Return when the job was done whose file is lacking for longest; None where none is."""
    return session.scalar(
        select(Export.done_at)
        .where(in_state(State.DOWNLOADING), Export.account == account, Export.done_at.is_not(None))
        .order_by(Export.done_at)
        .limit(1)
    )


def locked(session: Session, export_id: UUID) -> Export | None:
    """Return the export, locked, whoever is at it; None if it is not on record any more."""
    return session.scalars(
        select(Export)
        .where(Export.id == export_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
