"""Requests come in batches too; what is asked of Uplynk can be paused."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

IS_OF_A_BATCH = sa.text("batch IS NOT NULL")
IS_STORED = sa.text("state = 'stored'")


def upgrade() -> None:
    """Add tables, a column and indexes; the release before goes on, and heeds no pause."""
    op.create_table(
        "batches",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_batches"),
    )
    op.create_table(
        "pauses",
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("requester", sa.String(64), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account", "requester", name="pk_pauses"),
    )
    op.add_column("requests", sa.Column("batch", sa.String(64), nullable=True))
    op.create_index(
        "ix_requests_of_batch",
        "requests",
        ["batch", "created_at"],
        postgresql_where=IS_OF_A_BATCH,
        sqlite_where=IS_OF_A_BATCH,
    )
    op.create_index(
        "ix_exports_of_asset",
        "exports",
        ["account", "asset"],
        postgresql_where=IS_STORED,
        sqlite_where=IS_STORED,
    )


def downgrade() -> None:
    """Take them away; who was paused goes on."""
    op.drop_index("ix_exports_of_asset", "exports")
    op.drop_index("ix_requests_of_batch", "requests")
    op.drop_column("requests", "batch")
    op.drop_table("pauses")
    op.drop_table("batches")
