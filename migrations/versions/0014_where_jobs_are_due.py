"""Uplynk's list is read where jobs are due; what a reading came to is known to the next."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; the release before, which knows none, reads on from `skip` as ever."""
    for column in ("has_passed", "is_whole", "has_found"):
        op.add_column(
            "surveys", sa.Column(column, sa.Boolean(), nullable=False, server_default=sa.false())
        )
    for column in ("unseen", "barren"):
        op.add_column(
            "surveys", sa.Column(column, sa.Integer(), nullable=False, server_default="0")
        )
    op.add_column("surveys", sa.Column("read_by", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Take the columns away."""
    for column in ("read_by", "barren", "unseen", "has_found", "is_whole", "has_passed"):
        op.drop_column("surveys", column)
