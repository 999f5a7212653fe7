"""Deletions: the SQL by which the jobs of stored exports are taken off Uplynk's list.

`job_delete_at` says when. Who takes a job moves that on, so that nobody else does meanwhile; who
dies at it leaves the job due when that time has come. Nothing here commits.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from models.claims import in_state
from models.export import Export
from models.state import State


def take(
    session: Session, *, now: datetime, until: datetime, limit: int, account: str
) -> list[Export]:
    """Return up to `limit` exports whose jobs are to be deleted by now, the first due first taken.

    Nobody else takes them before `until`. One whose captions are still to be asked for is left.
    """
    # a CTE that locks rows is run once; see claims.take
    chosen = (
        _to_be_deleted(account)
        .where(Export.job_delete_at <= now)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    return list(
        session.scalars(
            update(Export)
            .where(Export.id.in_(select(chosen.c.id)))
            .values(job_delete_at=until)
            .returning(Export)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
    )


def next_due(session: Session, *, account: str) -> datetime | None:
    """Return when the next job is to be deleted; None for never."""
    return session.scalar(_to_be_deleted(account).with_only_columns(Export.job_delete_at).limit(1))


def settle(session: Session, ids: Collection[UUID], at: datetime | None) -> None:
    """Set down when the jobs of these exports are to be deleted; None: they are gone."""
    # in one order, so that two who settle the same don't wait for each other
    rows = select(Export.id).where(Export.id.in_(ids)).order_by(Export.id).with_for_update()
    session.execute(
        update(Export)
        .where(Export.id.in_(session.scalars(rows).all()))
        .values(job_delete_at=at)
        .execution_options(synchronize_session=False)
    )


def _to_be_deleted(account: str) -> Select[UUID]:
    return (
        select(Export.id)
        .where(
            in_state(State.STORED),
            Export.account == account,
            Export.job_delete_at.is_not(None),
            Export.captions_due_at.is_(None),
            Export.job_id.is_not(None),
        )
        .order_by(Export.job_delete_at)
    )
