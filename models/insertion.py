"""Insertion: many rows, by as few statements as the database can take them in."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    ARRAY,
    CTE,
    Column,
    Table,
    bindparam,
    column,
    func,
    insert,
    inspect,
    literal,
    select,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import Insert

from models.base import Base
from models.claims import dialect_of


class Preceding(NamedTuple):
    """What is done before rows are inserted, in the same statement, and what that is told."""

    done: CTE
    values: Mapping[str, Any]


def insert_many(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, each by the names of its attributes; the others have their defaults.

    On PostgreSQL it is one statement for all that have the same attributes, with an array for each
    column: half the time of a statement for each row.
    """
    if not rows:
        return
    if dialect_of(session) != "postgresql":
        session.execute(insert(table), list(rows))
        return
    alike: defaultdict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        alike[tuple(sorted(row))].append(row)
    for names, some in alike.items():
        arrays = {name: [row[name] for row in some] for name in names}
        session.execute(_of_arrays(table, names), arrays)


def insert_together(
    session: Session,
    *rows: tuple[type[Base], Mapping[str, Any]],
    preceding: Preceding | None = None,
) -> None:
    """Insert a row each of some tables, in their order; else as `insert_many`.

    On PostgreSQL that is one statement, which may have something done first.
    """
    if dialect_of(session) != "postgresql":
        for table, row in rows:
            session.execute(insert(table), [row])
        return
    whole = [(table, {**_defaults(table, row), **row}) for table, row in rows]
    shape = tuple((table, tuple(row)) for table, row in whole)
    values = {
        _numbered(number, name): value
        for number, (_, row) in enumerate(whole)
        for name, value in row.items()
    }
    if preceding is not None:
        values |= preceding.values
    session.execute(_together(shape, preceding and preceding.done), values)


@lru_cache
def _together(shape: tuple[tuple[type[Base], tuple[str, ...]], ...], done: CTE | None) -> Insert:
    *before, last = enumerate(shape)
    for number, each in before:
        # selected from the one before: parts that nothing reads PostgreSQL runs in any order
        done = _of_values(number, *each, after=done).returning(literal(1)).cte(f"row_{number}")
    number, each = last
    return _of_values(number, *each, after=done)


def _of_values(
    number: int, table: type[Base], names: tuple[str, ...], *, after: CTE | None
) -> Insert:
    columns = _columns(table, names)
    values = select(
        *(
            bindparam(_numbered(number, name), type_=each.type)
            for name, each in zip(names, columns, strict=True)
        )
    )
    values = values if after is None else values.select_from(after)
    kept = [each.name for each in columns]
    return insert(_table(table)).from_select(kept, values, include_defaults=False)


def _defaults(table: type[Base], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row has besides what is named: SQLAlchemy gives it to no INSERT in a CTE."""
    return {
        name: default.arg(None) if default.is_callable else default.arg
        for name, default in _with_default(table)
        if name not in row
    }


@lru_cache
def _with_default(table: type[Base]) -> list[tuple[str, Any]]:
    attributes = inspect(table).column_attrs.items()
    defaults = [(name, each.columns[0].default) for name, each in attributes]
    return [(name, default) for name, default in defaults if default is not None]


def _numbered(number: int, name: str) -> str:
    """Return what a value goes by: more than one of the tables may have such a column."""
    return f"{number}_{name}"


def _columns(table: type[Base], names: Sequence[str]) -> list[Column[Any]]:
    attributes = inspect(table).column_attrs
    return [cast("Column[Any]", attributes[name].columns[0]) for name in names]


@lru_cache
def _of_arrays(table: type[Base], names: tuple[str, ...]) -> Insert:
    columns = _columns(table, names)
    arrays = [
        bindparam(name, type_=ARRAY(each.type)) for name, each in zip(names, columns, strict=True)
    ]
    kept = [each.name for each in columns]
    unnested = func.unnest(*arrays).table_valued(
        *(column(each.name, each.type) for each in columns)
    )
    row = unnested.render_derived()
    # the defaults of all other columns are in it as well
    return insert(_table(table)).from_select(kept, select(*(row.c[name] for name in kept)))


def _table(of: type[Base]) -> Table:
    return cast("Table", of.__table__)
