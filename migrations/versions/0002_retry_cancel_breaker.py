"""Exports can be cancelled and retried, and an outage of Uplynk is known to all workers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns and the table; the release before this one goes on beside them."""
    op.add_column("exports", sa.Column("begun_at", TIME, nullable=True))
    op.add_column("exports", sa.Column("unwanted_since", TIME, nullable=True))
    # the release before inserts rows without it
    op.add_column(
        "exports", sa.Column("renewals", sa.Integer(), nullable=False, server_default="0")
    )
    op.create_table(
        "breakers",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("probes", sa.Integer(), nullable=False),
        sa.Column("opened_at", TIME, nullable=True),
        sa.Column("probe_at", TIME, nullable=True),
        sa.Column("closed_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_breakers"),
    )


def downgrade() -> None:
    """Take the columns and the table away."""
    op.drop_table("breakers")
    for column in ("renewals", "unwanted_since", "begun_at"):
        op.drop_column("exports", column)
