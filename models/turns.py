"""Turns: the SQL by which requesters come to take turns, and are forgotten when they are idle.

Whose turn it is, admission tells. Nothing here commits.
"""

from typing import cast

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Table,
    Text,
    bindparam,
    column,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from models.claims import dialect_of
from models.export import IS_UNDER_WAY, Export
from models.insertion import Preceding
from models.turn import Turn

TURNS = cast("Table", Turn.__table__)

# An arbitrary number that names the lock of the turns: who enters shares it, who forgets the idle
# has it alone.
_LOCK = 0x7475726E

_SERVED_LAST = (
    select(func.max(Turn.served)).where(Turn.account == bindparam("of")).scalar_subquery()
)

# Has the turn of the requester `by`, of the account `of`, be over.
SERVED = (
    update(TURNS)
    .where(TURNS.c.account == bindparam("of"), TURNS.c.requester == bindparam("by"))
    .values(served=_SERVED_LAST + 1)
)

_IN_ORDER = (
    func.unnest(bindparam("by", type_=ARRAY(TURNS.c.requester.type)))
    .table_valued(
        column("requester", TURNS.c.requester.type), with_ordinality="place", name="in_order"
    )
    .render_derived()
)

# As SERVED, of the requesters `by`, in their order; on PostgreSQL.
ALL_SERVED = (
    update(TURNS)
    .where(TURNS.c.account == bindparam("of"), TURNS.c.requester == _IN_ORDER.c.requester)
    .values(served=_SERVED_LAST + _IN_ORDER.c.place)
)

# On PostgreSQL a function enters (migration 0015). It looks once it has the lock, and inserts no
# turn that is there: that would wait for whoever is just admitting an export of its.
_ENTER = select(
    func.enter_turn(
        bindparam("turns_lock", _LOCK, BigInteger),
        bindparam("turns_account", type_=Text),
        bindparam("turns_requester", type_=Text),
    ).label("entered")
)
_ENTERED = _ENTER.cte("entered")
# On SQLite one transaction at a time writes.
_ENTER_ALONE = (
    sqlite.insert(TURNS)
    .values(account=bindparam("turns_account"), requester=bindparam("turns_requester"), served=0)
    .on_conflict_do_nothing()
)


def enter(session: Session, account: str, requester: str) -> None:
    """Have the requester take turns with the others, from now on, if it doesn't yet.

    To be called before its export is there: whoever forgets the idle waits for this transaction.
    """
    statement = _ENTER if dialect_of(session) == "postgresql" else _ENTER_ALONE
    session.execute(statement, _turn(account, requester))


def entering(session: Session, account: str, requester: str) -> Preceding | None:
    """Have the requester take turns, as `enter` does; on PostgreSQL it is yet to be done.

    That precedes its export, in one statement.
    """
    if dialect_of(session) == "postgresql":
        return Preceding(_ENTERED, _turn(account, requester))
    enter(session, account, requester)
    return None


def _turn(account: str, requester: str) -> dict[str, str]:
    return {"turns_account": account, "turns_requester": requester}


def lock(session: Session) -> None:
    """Wait until all who entered have committed, and let nobody enter before this one has."""
    if dialect_of(session) == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def forget_idle(session: Session, account: str, *, limit: int) -> int:
    """Delete the turns of requesters who have nothing under way; returns how many, up to `limit`.

    Not only what is requested counts: what is with Uplynk may come back. To be called under the
    lock of the turns.
    """
    busy = select(Export.requester).where(
        Export.account == account,
        IS_UNDER_WAY,
        Export.due_at.is_not(None),  # true of them all; by it ix_exports_due serves
    )
    idle = (
        select(Turn.requester)
        .where(Turn.account == account, Turn.requester.not_in(busy))
        .limit(limit)
    )
    gone = session.execute(
        delete(Turn)
        .where(Turn.account == account, Turn.requester.in_(session.scalars(idle).all()))
        .returning(Turn.requester)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())
