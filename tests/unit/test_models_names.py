"""Names: every constraint and every index can be dropped by a name that says what it is."""

import re

import pytest
from sqlalchemy import (
    CheckConstraint,
    Dialect,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    make_url,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from models import Base

PREFIXES = {
    PrimaryKeyConstraint: "pk",
    ForeignKeyConstraint: "fk",
    CheckConstraint: "ck",
    UniqueConstraint: "uq",
}
LONGEST = 63  # PostgreSQL cuts longer names off
DIALECTS: list[Dialect] = [
    make_url(url).get_dialect()() for url in ("postgresql+psycopg://", "sqlite://")
]
TABLES = list(Base.metadata.sorted_tables)


def indexes() -> list[Index]:
    return [
        index
        for table in TABLES
        for index in sorted(table.indexes, key=lambda index: str(index.name))
    ]


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_each_constraint_is_named_after_its_kind_and_table(table: Table) -> None:
    for constraint in table.constraints:
        begin = f"{PREFIXES[type(constraint)]}_{table.name}"
        assert str(constraint.name).startswith(begin)


@pytest.mark.parametrize("index", indexes(), ids=lambda index: str(index.name))
def test_each_index_is_named_after_its_kind_and_table(index: Index) -> None:
    assert index.table is not None
    assert str(index.name).startswith(f"{'uq' if index.unique else 'ix'}_{index.table.name}")


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
@pytest.mark.parametrize("table", TABLES, ids=str)
def test_no_constraint_goes_without_a_name(table: Table, dialect: Dialect) -> None:
    ddl = str(CreateTable(table).compile(dialect=dialect))
    kinds = re.findall(r"(.*)\b(?:PRIMARY KEY|FOREIGN KEY|CHECK|UNIQUE)\b", ddl)
    assert kinds
    assert all(re.search(r"CONSTRAINT \w+ $", kind) for kind in kinds)


def test_names_are_short_enough_and_used_once() -> None:
    names = [str(index.name) for index in indexes()]
    names += [str(one.name) for table in TABLES for one in table.constraints]
    assert len(names) == len(set(names))
    assert all(len(name) <= LONGEST for name in names)


@pytest.mark.parametrize("index", indexes(), ids=lambda index: str(index.name))
def test_a_partial_index_is_partial_in_both_databases(index: Index) -> None:
    partial = {"WHERE" in str(CreateIndex(index).compile(dialect=one)) for one in DIALECTS}
    assert len(partial) == 1
