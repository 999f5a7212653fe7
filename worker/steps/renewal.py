"""Renewal: another export takes the place of one that ended without a file."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from models import Export
from worker.logs import get_logger
from worker.steps.kit import Kit
from worker.steps.wanted import take_turn, waiting

# Uplynk erases a job 72 hours after it ended (uplynk-api: life cycle); clocks may differ.
ERASED_AFTER = timedelta(hours=71)

_log = get_logger(__name__)


def renew_lost(kit: Kit, session: Session, export: Export, *, now: datetime) -> None:
    """Renew an export if it has just ended because Uplynk erased its job, and it may be."""
    if export.error_code == "job_lost" and export.renewals < kit.settings.reexports_of_lost_jobs:
        renew(session, export, now=now, renewals=export.renewals + 1)


def renew_withdrawn(session: Session, export: Export, *, now: datetime) -> None:
    """Renew an export if it has just ended because nobody wanted it, and somebody does again."""
    if export.error_code == "cancelled" and export.unwanted_since is None:
        renew(session, export, now=now, renewals=0)


def renew(session: Session, export: Export, *, now: datetime, renewals: int) -> Export | None:
    """Return a new export for the requests that still want what `export` did not bring.

    It is a job of its own, and paid for. None where no request is left.

    Args:
        session: in a transaction that holds the lock of `export`, which has ended.
        export: the one that ended.
        now: the time.
        renewals: how many exports before the new one were lost at Uplynk.
    """
    requests = waiting(session, export)
    if not requests:
        return None
    session.flush()  # one export at a time is under way for an asset and codec, also in here
    successor = Export.requested(
        account=export.account,
        asset=export.asset,
        audio=export.audio,
        priority=export.priority,
        requester=export.requester,
        now=now,
        reason=f"in the place of export {export.id} (job {export.job_id or 'unknown'})",
    )
    successor.renewals = renewals
    take_turn(session, successor, requests)
    for request in requests:
        request.export = successor
    session.flush()
    _log.info("export renewed", export_id=str(successor.id), message=f"instead of {export.id}")
    return successor
