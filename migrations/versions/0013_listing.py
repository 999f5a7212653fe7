"""Whoever looks for requests by asset, requester or error code goes by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

HAS_REQUESTER = sa.text("requester <> ''")
IS_WITHDRAWN = sa.text("cancelled_at IS NOT NULL")
IS_WITHOUT_FILE = sa.text("state IN ('failed', 'cancelled')")


def upgrade() -> None:
    """Add the indexes; the release before keeps them up without knowing of them."""
    op.create_index("ix_requests_of_asset", "requests", ["asset", "created_at"])
    op.create_index(
        "ix_requests_of_requester",
        "requests",
        ["requester", "created_at"],
        postgresql_where=HAS_REQUESTER,
        sqlite_where=HAS_REQUESTER,
    )
    op.create_index(
        "ix_requests_withdrawn",
        "requests",
        ["cancelled_at"],
        postgresql_where=IS_WITHDRAWN,
        sqlite_where=IS_WITHDRAWN,
    )
    op.create_index(
        "ix_exports_of_code",
        "exports",
        ["error_code", "state_since"],
        postgresql_where=IS_WITHOUT_FILE,
        sqlite_where=IS_WITHOUT_FILE,
    )


def downgrade() -> None:
    """Take the indexes away; a search reads whole tables again."""
    op.drop_index("ix_exports_of_code", "exports")
    for name in ("ix_requests_withdrawn", "ix_requests_of_requester", "ix_requests_of_asset"):
        op.drop_index(name, "requests")
