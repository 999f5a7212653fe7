"""Notifications that were given up are counted by an index of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

IS_DEAD = sa.text("dead_at IS NOT NULL")


def upgrade() -> None:
    """Add the index."""
    op.create_index(
        "ix_notifications_dead",
        "notifications",
        ["dead_at"],
        postgresql_where=IS_DEAD,
        sqlite_where=IS_DEAD,
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_index("ix_notifications_dead", "notifications")
