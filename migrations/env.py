"""Alembic's entry: which database, under which timeouts and which lock a migration runs."""

import os
import warnings
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, text

from models import Base, status
from models.base import UtcDateTime
from models.database import DEFAULT_URL, open_engine

# A migration that waits for a lock holds up every worker behind it: better fail, and be run again.
LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "120s"
# Two deployments that migrate at once go one after the other.
MIGRATION_LOCK = 0x6D696772
TURN_TIMEOUT = "120s"  # nobody waits behind this one, so it may last as long as a migration does


def number(_context: object, _revision: object, directives: list[Any]) -> None:
    """Give a new revision the next number instead of a random id."""
    if directives:
        head = context.script.get_current_head()
        directives[0].rev_id = f"{int(head or 0) + 1:04d}"


def render(kind: str, item: object, autogenerate: AutogenContext) -> str | Literal[False]:
    """Write a column's type so that a new revision runs as it is, and outlives the models."""
    if kind != "type":
        return False
    if isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, sa.JSON):
        autogenerate.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    if isinstance(item, sa.Enum):
        values = ", ".join(repr(value) for value in item.enums)
        return (
            f"sa.Enum({values}, name={item.name!r}, native_enum=False, create_constraint=True,"
            f" length={item.length})"
        )
    return False


def migrate(connection: Connection) -> None:
    """Run the migrations on `connection`, all of them in one transaction."""
    is_sqlite = connection.dialect.name == "sqlite"
    # SQLAlchemy can't read an index with DESC back from SQLite; on PostgreSQL it is compared.
    warnings.filterwarnings("ignore", "autogenerate skipping metadata-specified expression-based")
    descending = {"ix_exports_turns", "ix_exports_downloads"}
    unreadable = descending if is_sqlite else set()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_server_default=True,
        render_as_batch=is_sqlite,
        render_item=render,
        transactional_ddl=True,  # also on SQLite: open_engine begins transactions by itself
        process_revision_directives=number,
        include_object=lambda _item, name, *_: name not in unreadable,
    )
    if is_sqlite:
        suspend_foreign_keys(connection)
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            await_turn(connection)
        is_replaced = is_moving() and not has_view(connection)
        readers = take_view(connection) if is_replaced else []
        context.run_migrations()
        if is_replaced and is_at_head():
            make_view(connection, readers)
        if is_sqlite:
            check_foreign_keys(connection)


def is_moving() -> bool:
    """Return whether migrations are run, and not the tables compared."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return True


def has_view(connection: Connection) -> bool:
    """Return whether there is nothing to do, and the view is this release's: it is left alone."""
    if context.get_revision_argument() != context.get_context().get_current_revision():
        return False
    if connection.dialect.name == "postgresql":
        said = text("SELECT obj_description(to_regclass(:name), 'pg_class')")
        return bool(connection.scalar(said, {"name": status.NAME}) == fingerprint())
    made = text("SELECT sql FROM sqlite_master WHERE name = :name")
    return str(connection.scalar(made, {"name": status.NAME})).strip() == status.VIEW.strip()


def fingerprint() -> str:
    """Return what tells this release's view from others'."""
    return f"uplynk-export {sha256(status.VIEW.encode()).hexdigest()}"


def take_view(connection: Connection) -> list[str]:
    """Take the view away, if it is there; returns who else was allowed to read it."""
    readers: list[str] = []
    if connection.dialect.name == "postgresql":
        granted = """
            SELECT CASE grantee WHEN 'PUBLIC' THEN grantee ELSE quote_ident(grantee) END
            FROM information_schema.role_table_grants
            WHERE table_schema = current_schema() AND table_name = :name
            AND privilege_type = 'SELECT' AND grantee <> current_user
        """
        readers = list(connection.scalars(text(granted), {"name": status.NAME}))
    connection.execute(text(f"DROP VIEW IF EXISTS {status.NAME}"))
    return readers


def make_view(connection: Connection, readers: Sequence[str]) -> None:
    """Make the view as this release has it; who could read it still can."""
    connection.execute(text(status.VIEW))
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"COMMENT ON VIEW {status.NAME} IS '{fingerprint()}'"))
    for reader in readers:
        connection.execute(text(f"GRANT SELECT ON {status.NAME} TO {reader}"))


def is_at_head() -> bool:
    """Return whether the tables are those of this release."""
    return context.get_context().get_current_revision() == context.script.get_current_head()


def await_turn(connection: Connection) -> None:
    """Wait until no other deployment migrates; from then on, wait for no lock for long."""
    connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
    connection.execute(text(f"SET LOCAL lock_timeout = '{TURN_TIMEOUT}'"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))


def suspend_foreign_keys(connection: Connection) -> None:
    """Let a batch operation replace a table: to drop the old one must not delete what refers to it.

    Told to the driver, as SQLite heeds this only outside of a transaction.
    """
    connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")


def check_foreign_keys(connection: Connection) -> None:
    """Let no migration end that leaves a row referring to nothing."""
    if broken := connection.execute(text("PRAGMA foreign_key_check")).all():
        tables = ", ".join(sorted({row[0] for row in broken}))
        raise RuntimeError(f"the migration would leave rows that refer to nothing in: {tables}")


def main() -> None:
    """Migrate the database of the Alembic attribute `url`, else of DATABASE_URL."""
    if context.is_offline_mode():
        raise SystemExit("migrations read the database's revision; run them with a connection")
    url = context.config.attributes.get("url") or os.environ.get("DATABASE_URL") or DEFAULT_URL
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            migrate(connection)
    finally:
        engine.dispose()


main()
