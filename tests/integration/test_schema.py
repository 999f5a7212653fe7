"""The schema: the migrations make, to the last word, what the models describe.

`alembic check` compares no CHECK, no predicate of a partial index, and on SQLite no index of
expressions; here the databases' own words are compared.
"""

import re
from pathlib import Path

import pytest
from sqlalchemy import text

import migrations
from models import Base
from tests.engines import connected

OTHER = "by_models"

# a comma outside of brackets, or the bracket before the first column
BETWEEN = re.compile(r",(?![^()]*\))|(?<=[a-z]) \(\n")

POSTGRESQL = {
    "columns": """
        SELECT table_name, column_name, data_type, udt_name, character_maximum_length, is_nullable,
               column_default
        FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name <> 'alembic_version'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = current_schema()::regnamespace
        AND conrelid::regclass::text <> 'alembic_version'
    """,
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = current_schema() AND tablename <> 'alembic_version'
    """,
}


def words(url: str, question: str) -> list[str]:
    """Return the rows of an answer, without the names of the schemas."""
    with connected(url) as connection:
        answer = [tuple(row) for row in connection.execute(text(question))]
    return sorted(re.sub(rf"\b({OTHER}|public)\.", "", str(row)) for row in answer)


@pytest.mark.services
@pytest.mark.parametrize("what", POSTGRESQL)
def test_on_postgresql_the_migrations_make_what_the_models_say(
    database_url: str, what: str
) -> None:
    described = f"{database_url}?options=-c%20search_path%3D{OTHER}"
    with connected(described) as connection:
        connection.execute(text(f"CREATE SCHEMA {OTHER}"))
        Base.metadata.create_all(connection)
    found = words(database_url, POSTGRESQL[what])
    assert found
    assert found == words(described, POSTGRESQL[what])


def definitions(url: str) -> dict[str, set[str]]:
    """Return each table and index by its name: the parts that it was made of, in any order.

    A column that came later stands behind the constraints, with no line of its own.
    """
    question = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    with connected(url) as connection:
        found = connection.execute(question).all()
    return {
        name: {" ".join(part.split()) for part in BETWEEN.split(sql.rstrip(") \n"))}
        for name, sql in found
        if name != "alembic_version"
    }


def test_on_sqlite_the_migrations_make_what_the_models_say(tmp_path: Path) -> None:
    migrated, described = (f"sqlite:///{tmp_path}/{name}.db" for name in ("one", "other"))
    migrations.upgrade(migrated)
    with connected(described) as connection:
        Base.metadata.create_all(connection)
    found = definitions(migrated)
    assert {"exports", "uq_exports_under_way", "ix_exports_turns"} <= found.keys()
    assert found == definitions(described)
