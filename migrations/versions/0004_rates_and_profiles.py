"""How fast a download is, and the profile of a film's audio, are on record."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; the release before this one goes on beside them."""
    op.add_column("exports", sa.Column("bytes_per_second", sa.Double(), nullable=True))
    op.add_column("exports", sa.Column("audio_profile", sa.String(32), nullable=True))


def downgrade() -> None:
    """Take the columns away."""
    op.drop_column("exports", "audio_profile")
    op.drop_column("exports", "bytes_per_second")
