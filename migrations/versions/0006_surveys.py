"""Uplynk's list of jobs is read through by one worker at a time; where it is, all know."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

IS_UNWANTED = sa.text("unwanted_since IS NOT NULL AND due_at IS NOT NULL")


def upgrade() -> None:
    """Add the table and an index; the release before this one knows neither, and goes on."""
    op.create_table(
        "surveys",
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("claim", sa.Uuid(), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("skip", sa.Integer(), nullable=False),
        sa.Column("rests_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account", name="pk_surveys"),
    )
    op.create_index(
        "ix_exports_unwanted",
        "exports",
        ["state", "due_at"],
        postgresql_where=IS_UNWANTED,
        sqlite_where=IS_UNWANTED,
    )


def downgrade() -> None:
    """Take the index and the table away."""
    op.drop_index("ix_exports_unwanted", "exports")
    op.drop_table("surveys")
