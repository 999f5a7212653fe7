"""Why and when a job was told to stop is remembered, and which message retried a request."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; the release before this one goes on beside them."""
    op.add_column("exports", sa.Column("stop_cause", sa.String(16), nullable=True))
    op.add_column("exports", sa.Column("stop_told_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("requests", sa.Column("retried_by", sa.String(155), nullable=True))


def downgrade() -> None:
    """Take the columns away."""
    op.drop_column("requests", "retried_by")
    op.drop_column("exports", "stop_told_at")
    op.drop_column("exports", "stop_cause")
