"""A reading of Uplynk's list goes where jobs are due, or through all of it where it must."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the release before, which knows none, reads on from `skip` as ever."""
    op.add_column(
        "surveys",
        sa.Column("is_whole", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    """Take the column away."""
    op.drop_column("surveys", "is_whole")
