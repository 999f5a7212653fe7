"""History: one row for each change of an export's state."""

from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    ForeignKey,
    Index,
    Insert,
    Integer,
    Table,
    Text,
    bindparam,
    insert,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, by_value
from models.state import State


class History(Base):
    """That an export changed its state, when, and why. Rows are only ever added."""

    __tablename__ = "history"
    __table_args__ = (Index("ix_history_of_export", "export_id", "id"),)

    # SQLite counts up by itself only for its own INTEGER PRIMARY KEY
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    export_id: Mapped[UUID] = mapped_column(ForeignKey("exports.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    from_state: Mapped[State | None] = mapped_column(by_value(State, "from_state"))
    to_state: Mapped[State] = mapped_column(by_value(State, "to_state"))
    reason: Mapped[str] = mapped_column(Text)


HISTORY = cast("Table", History.__table__)


def adding(rows: CTE) -> Insert:
    """Return the statement that adds a row for each export whose `id` is in `rows`.

    It is told the columns of History: `at`, `from_state`, `to_state` and `reason`.
    """
    names = ("at", "from_state", "to_state", "reason")
    noted = [bindparam(name, type_=HISTORY.c[name].type) for name in names]
    return insert(HISTORY).from_select(["export_id", *names], select(rows.c.id, *noted))
