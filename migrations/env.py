"""Alembic's entry: which database, under which timeouts and which lock a migration runs."""

import os
import warnings
from typing import Any

from alembic import context
from sqlalchemy import Connection, text

from models import Base
from models.database import DEFAULT_URL, open_engine

# A migration that waits for a lock holds up every worker behind it: better fail, and be run again.
LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "120s"
# Two deployments that migrate at once go one after the other.
MIGRATION_LOCK = 0x6D696772


def number(_context: object, _revision: object, directives: list[Any]) -> None:
    """Give a new revision the next number instead of a random id."""
    if directives and context.config.cmd_opts is not None:
        head = context.script.get_current_head()
        directives[0].rev_id = f"{int(head or 0) + 1:04d}"


def migrate(connection: Connection) -> None:
    """Run the migrations on `connection`, all of them in one transaction."""
    # SQLAlchemy can't read an index with DESC back from SQLite; on PostgreSQL it is compared.
    warnings.filterwarnings("ignore", "autogenerate skipping metadata-specified expression-based")
    unreadable = {"ix_exports_due_by_priority"} if connection.dialect.name == "sqlite" else set()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_server_default=True,
        render_as_batch=connection.dialect.name == "sqlite",
        process_revision_directives=number,
        include_object=lambda _item, name, *_: name not in unreadable,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        context.run_migrations()


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
