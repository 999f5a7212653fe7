"""A request keeps the trace that it came with."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the release before goes on beside it."""
    op.add_column("requests", sa.Column("trace_context", sa.String(64), nullable=True))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("requests", "trace_context")
