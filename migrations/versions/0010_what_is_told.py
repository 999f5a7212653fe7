"""What a CMS is told goes by receivers."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

IS_DUE = sa.text("due_at IS NOT NULL")


def upgrade() -> None:
    """Add the column and the indexes; the release before goes on, and tells nothing."""
    op.add_column(
        "notifications",
        sa.Column("receiver", sa.String(300), server_default=sa.text("''"), nullable=False),
    )
    op.create_index(
        "ix_notifications_of_receiver",
        "notifications",
        ["receiver", "due_at"],
        postgresql_where=IS_DUE,
        sqlite_where=IS_DUE,
    )
    op.create_index("ix_notifications_created_at", "notifications", ["created_at"])


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_notifications_created_at", "notifications")
    op.drop_index("ix_notifications_of_receiver", "notifications")
    op.drop_column("notifications", "receiver")
