"""Whether somebody waits to be told of an export's end is seen in the statement that ends it."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the function on PostgreSQL; the release before doesn't call it.

    It is VOLATILE, and by that reads what is there when it is called; what the statement that calls
    it reads by itself is as it was when that began.
    """
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            """
            CREATE FUNCTION export_is_awaited(export uuid) RETURNS boolean
            LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                RETURN EXISTS (
                    SELECT FROM requests
                    WHERE export_id = export AND cancelled_at IS NULL
                    AND (callback_task IS NOT NULL OR webhook_url IS NOT NULL)
                );
            END
            $$
            """
        )


def downgrade() -> None:
    """Take the function away."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION export_is_awaited(uuid)")
