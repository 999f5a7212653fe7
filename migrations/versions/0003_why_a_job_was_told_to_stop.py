"""Why a job was told to stop is known before it is told, and remembered."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the release before this one goes on beside it."""
    op.add_column("exports", sa.Column("stop_cause", sa.String(16), nullable=True))


def downgrade() -> None:
    """Take the column away."""
    op.drop_column("exports", "stop_cause")
