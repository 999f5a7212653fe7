"""The first tables: requests, exports, history, notifications."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
STATES = (
    "requested",
    "submitting",
    "exporting",
    "downloading",
    "stored",
    "failed",
    "cancelled",
)
IS_UNDER_WAY = sa.text("state IN ('requested', 'submitting', 'exporting', 'downloading')")
IS_DUE = sa.text("due_at IS NOT NULL")


def one_of(name: str, *values: str) -> sa.Enum:
    """Return the type of a column that holds one of `values`, by a CHECK."""
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    """Make the tables; there is no release before this one."""
    create_exports()
    keep_fresh("exports")
    create_history()
    create_requests()
    create_notifications()


def create_exports() -> None:
    """Make the table of the jobs and their files."""
    op.create_table(
        "exports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("asset", sa.String(32), nullable=False),
        sa.Column("audio", one_of("audio", "he-aac", "aac-lc"), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", one_of("state", *STATES), nullable=False),
        sa.Column("state_since", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=True),
        sa.Column("claim", sa.Uuid(), nullable=True),
        sa.Column("claimed_until", TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failing_since", TIME, nullable=True),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("asked_at", TIME, nullable=True),
        sa.Column("job_id", sa.String(64), nullable=True),
        sa.Column("job_state", sa.String(64), nullable=True),
        sa.Column("job_progress", sa.Text(), nullable=True),
        sa.Column("job_error", sa.Text(), nullable=True),
        sa.Column("job_created_at", TIME, nullable=True),
        sa.Column("job_finished_at", TIME, nullable=True),
        sa.Column("polls", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("bytes_done", sa.BigInteger(), nullable=True),
        sa.Column("bytes_total", sa.BigInteger(), nullable=True),
        sa.Column("storage_url", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("video_codec", sa.String(32), nullable=True),
        sa.Column("audio_codec", sa.String(32), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("captions", one_of("captions", "present", "absent", "unknown"), nullable=True),
        sa.Column("captions_url", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_exports"),
        sa.CheckConstraint(f"NOT ({IS_UNDER_WAY.text}) OR due_at IS NOT NULL", "never_forgotten"),
    )
    op.create_index(
        "uq_exports_under_way",
        "exports",
        ["account", "asset", "audio"],
        unique=True,
        postgresql_where=IS_UNDER_WAY,
        sqlite_where=IS_UNDER_WAY,
    )
    op.create_index("uq_exports_job_id", "exports", ["job_id"], unique=True)
    op.create_index(
        "ix_exports_due",
        "exports",
        ["state", "due_at"],
        postgresql_where=IS_DUE,
        sqlite_where=IS_DUE,
    )
    op.create_index(
        "ix_exports_due_by_priority",
        "exports",
        ["state", sa.text("priority DESC"), "due_at"],
        postgresql_where=IS_DUE,
        sqlite_where=IS_DUE,
    )


def keep_fresh(table: str) -> None:
    """Have PostgreSQL clean and count a table of millions each time that one in a hundred changed.

    Each step writes its row twice at least. By default that goes on until one in five or ten has
    changed, and so long the indexes are full of the dead and the planner knows of no backlog.
    """
    if op.get_bind().dialect.name == "postgresql":
        factors = ("autovacuum_vacuum_scale_factor", "autovacuum_analyze_scale_factor")
        op.execute(f"ALTER TABLE {table} SET ({', '.join(f'{name} = 0.01' for name in factors)})")


def create_history() -> None:
    """Make the table of the changes of state."""
    op.create_table(
        "history",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("export_id", sa.Uuid(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("from_state", one_of("from_state", *STATES), nullable=True),
        sa.Column("to_state", one_of("to_state", *STATES), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["export_id"], ["exports.id"], name="fk_history_export_id_exports", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_history"),
    )
    op.create_index("ix_history_of_export", "history", ["export_id", "id"])


def create_requests() -> None:
    """Make the table of what was asked for, and by whom."""
    op.create_table(
        "requests",
        sa.Column("id", sa.String(155), nullable=False),
        sa.Column("export_id", sa.Uuid(), nullable=True),
        sa.Column("asset", sa.String(255), nullable=True),
        sa.Column("audio", one_of("audio", "he-aac", "aac-lc"), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("callback_task", sa.String(255), nullable=True),
        sa.Column("callback_queue", sa.String(255), nullable=True),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("cancelled_at", TIME, nullable=True),
        sa.Column("error_code", sa.String(64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["export_id"], ["exports.id"], name="fk_requests_export_id_exports"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
    )
    op.create_index("ix_requests_of_export", "requests", ["export_id"])
    op.create_index("ix_requests_created_at", "requests", ["created_at"])


def create_notifications() -> None:
    """Make the outbox of what is to be told to the CMS."""
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.String(155), nullable=False),
        sa.Column("channel", one_of("channel", "task", "webhook"), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=True),
        sa.Column("claim", sa.Uuid(), nullable=True),
        sa.Column("claimed_until", TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.Column("dead_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["requests.id"],
            name="fk_notifications_request_id_requests",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_notifications"),
    )
    op.create_index(
        "ix_notifications_due",
        "notifications",
        ["due_at"],
        postgresql_where=IS_DUE,
        sqlite_where=IS_DUE,
    )
    op.create_index("ix_notifications_of_request", "notifications", ["request_id"])


def downgrade() -> None:
    """Drop the tables, with all that they remember."""
    for table in ("notifications", "requests", "history", "exports"):
        op.drop_table(table)
