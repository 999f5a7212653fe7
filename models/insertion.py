"""Insertion: many rows of a table, by as few statements as the database can take them in."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import ARRAY, Table, bindparam, column, func, insert, inspect, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import Insert

from models.base import Base
from models.claims import dialect_of


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


@lru_cache
def _of_arrays(table: type[Base], names: tuple[str, ...]) -> Insert:
    attributes = inspect(table).column_attrs
    columns = [attributes[name].columns[0] for name in names]
    arrays = [
        bindparam(name, type_=ARRAY(each.type)) for name, each in zip(names, columns, strict=True)
    ]
    kept = [each.name for each in columns]
    unnested = func.unnest(*arrays).table_valued(
        *(column(each.name, each.type) for each in columns)
    )
    row = unnested.render_derived()
    # the defaults of all other columns are in it as well
    return insert(cast("Table", table.__table__)).from_select(
        kept, select(*(row.c[name] for name in kept))
    )
