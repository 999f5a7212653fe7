"""What is only to be read under a lock is read by functions, in the statement that takes it."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the functions on PostgreSQL; the release before doesn't call them.

    They are VOLATILE, and by that read what is there when they are called, or when they have the
    lock; what the statement that calls them reads by itself is as it was when that began. No plan
    is kept: one that was made while a table was small would read all of it ever after.
    """
    if op.get_context().dialect.name != "postgresql":
        return
    op.execute(
        """
        CREATE FUNCTION export_is_awaited(export uuid) RETURNS boolean
        LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_custom_plan AS $$
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
    op.execute(
        """
        CREATE FUNCTION enter_turn(lock bigint, of text, who text) RETURNS void
        LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_custom_plan AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(lock);
            IF NOT EXISTS (SELECT FROM turns WHERE account = of AND requester = who) THEN
                INSERT INTO turns (account, requester, served) VALUES (of, who, 0)
                ON CONFLICT DO NOTHING;
            END IF;
        END
        $$
        """
    )


def downgrade() -> None:
    """Take the functions away."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION enter_turn(bigint, text, text)")
        op.execute("DROP FUNCTION export_is_awaited(uuid)")
