"""Requesters take turns; of finished jobs the oldest is brought first; the rate is looked up."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

IS_REQUESTED = sa.text("state = 'requested'")
IS_STORED = sa.text("state = 'stored'")
IS_DOWNLOADING = sa.text("state = 'downloading'")
IS_DUE = sa.text("due_at IS NOT NULL")


def upgrade() -> None:
    """Add the table, the columns and the indexes; the release before goes on without its own."""
    op.create_table(
        "turns",
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("requester", sa.String(64), nullable=False),
        sa.Column("served", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "requester", name="pk_turns"),
    )
    op.create_index("ix_turns_order", "turns", ["account", "served", "requester"])
    for table in ("requests", "exports"):
        op.add_column(
            table,
            sa.Column("requester", sa.String(64), nullable=False, server_default=sa.text("''")),
        )
    op.add_column("exports", sa.Column("done_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE exports SET done_at = coalesce(job_finished_at, state_since)"
        " WHERE state = 'downloading'"
    )
    op.create_index(
        "ix_exports_turns",
        "exports",
        ["account", sa.text("priority DESC"), "requester", "due_at"],
        postgresql_where=IS_REQUESTED,
        sqlite_where=IS_REQUESTED,
    )
    op.create_index(
        "ix_exports_downloads",
        "exports",
        ["account", sa.text("priority DESC"), "done_at"],
        postgresql_where=IS_DOWNLOADING,
        sqlite_where=IS_DOWNLOADING,
    )
    op.create_index(
        "ix_exports_done_at",
        "exports",
        ["account", "done_at"],
        postgresql_where=IS_DOWNLOADING,
        sqlite_where=IS_DOWNLOADING,
    )
    op.create_index(
        "ix_exports_stored",
        "exports",
        ["account", "state_since"],
        postgresql_where=IS_STORED,
        sqlite_where=IS_STORED,
    )
    op.drop_index("ix_exports_due_by_priority", "exports")


def downgrade() -> None:
    """Put back what was there."""
    op.create_index(
        "ix_exports_due_by_priority",
        "exports",
        ["state", sa.text("priority DESC"), "due_at"],
        postgresql_where=IS_DUE,
        sqlite_where=IS_DUE,
    )
    for index in (
        "ix_exports_stored",
        "ix_exports_done_at",
        "ix_exports_downloads",
        "ix_exports_turns",
    ):
        op.drop_index(index, "exports")
    op.drop_column("exports", "done_at")
    for table in ("exports", "requests"):
        op.drop_column(table, "requester")
    op.drop_table("turns")
