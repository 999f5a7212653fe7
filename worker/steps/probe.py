"""Probe: whether Uplynk is there again, asked by calls that do nothing."""

from datetime import datetime

from sqlalchemy import select

from models import Export, State
from worker.errors import Transient
from worker.steps.kit import Kit

# A job that nobody has: to say so is an answer as well.
NO_JOB = "0" * 32


def away_until(kit: Kit) -> datetime | None:
    """Return when to come again while Uplynk is away; None if it may be asked."""
    return kit.circuit.retry_at(lambda: _probe(kit))


def _probe(kit: Kit) -> None:
    """Ask Uplynk for an answer, by one call or the other.

    A call of its own may be out of order, and all else would wait for it for ever.

    Raises:
        Transient: none came.
        Permanent: one came, a refusal.
    """
    try:
        kit.slicer.list_jobs(limit=1)
    except Transient:
        kit.slicer.get_job(_some_job(kit) or NO_JOB)


def _some_job(kit: Kit) -> str | None:
    """Return a job that Uplynk has: others it may refuse without a look at its records."""
    query = select(Export.job_id).where(
        Export.account == kit.slicer.owner,
        Export.state == State.EXPORTING,
        Export.due_at.is_not(None),  # true of them all; by it ix_exports_due serves
    )
    with kit.sessions.begin() as session:
        return session.scalar(query.limit(1))
