"""Jobs are taken off Uplynk's list, and what is old is deleted; how far, all workers know."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

IS_JOB_TO_BE_DELETED = sa.text("job_delete_at IS NOT NULL AND captions_due_at IS NULL")
IS_WITHOUT_FILE = sa.text("state IN ('failed', 'cancelled')")
IS_WITHOUT_EXPORT = sa.text("export_id IS NULL")


def upgrade() -> None:
    """Add the table, the column and indexes; the release before goes on, and deletes nothing."""
    op.create_table(
        "cleanings",
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("history_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("jobs_rest_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("account", name="pk_cleanings"),
    )
    op.add_column("exports", sa.Column("job_delete_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_exports_job_delete_at",
        "exports",
        ["account", "job_delete_at"],
        postgresql_where=IS_JOB_TO_BE_DELETED,
        sqlite_where=IS_JOB_TO_BE_DELETED,
    )
    op.create_index(
        "ix_exports_without_file",
        "exports",
        ["account", "state_since"],
        postgresql_where=IS_WITHOUT_FILE,
        sqlite_where=IS_WITHOUT_FILE,
    )
    op.create_index(
        "ix_requests_without_export",
        "requests",
        ["created_at"],
        postgresql_where=IS_WITHOUT_EXPORT,
        sqlite_where=IS_WITHOUT_EXPORT,
    )


def downgrade() -> None:
    """Take them away; jobs stay on Uplynk's list until Uplynk erases them."""
    op.drop_index("ix_requests_without_export", "requests")
    op.drop_index("ix_exports_without_file", "exports")
    op.drop_index("ix_exports_job_delete_at", "exports")
    op.drop_column("exports", "job_delete_at")
    op.drop_table("cleanings")
