"""Captions are asked for again, and an asset's duration is on record beside its film's."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

IS_DUE = sa.text("captions_due_at IS NOT NULL")


def upgrade() -> None:
    """Add the columns and the index; the release before this one goes on beside them."""
    op.add_column("exports", sa.Column("asset_duration_seconds", sa.Double(), nullable=True))
    op.add_column("exports", sa.Column("captions_note", sa.Text(), nullable=True))
    op.add_column(
        "exports", sa.Column("captions_due_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("exports", sa.Column("webvtt_url", sa.Text(), nullable=True))
    op.create_index(
        "ix_exports_captions_due",
        "exports",
        ["captions_due_at"],
        postgresql_where=IS_DUE,
        sqlite_where=IS_DUE,
    )


def downgrade() -> None:
    """Take the index and the columns away."""
    op.drop_index("ix_exports_captions_due", "exports")
    for column in ("webvtt_url", "captions_due_at", "captions_note", "asset_duration_seconds"):
        op.drop_column("exports", column)
