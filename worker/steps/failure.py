"""Failure: what becomes of an export whose step did not do what it is there for."""

from datetime import datetime, timedelta

from models import Export
from worker import pace
from worker.errors import ExportError, Transient
from worker.logs import get_logger
from worker.steps.kit import Kit

_log = get_logger(__name__)


def record(
    kit: Kit, export: Export, error: ExportError, *, now: datetime, least: timedelta | None = None
) -> None:
    """Set down that a step failed: to be taken again later, or the end of the export.

    A Transient is retried with backoff until the step has failed for RETRY_DEADLINE_HOURS without
    a break; anything else ends the export at once.

    Args:
        kit: what to work with.
        export: the row, held under its claim.
        error: what went wrong.
        now: the time.
        least: the shortest delay that makes sense here.
    """
    limit = kit.settings.retry_deadline
    if not isinstance(error, Transient):
        export.fail(error.code, error.message, now=now)
    elif pace.is_over(export.failing_since, limit=limit, now=now):
        hours = f"{limit.total_seconds() / 3600:g}"
        export.fail(
            error.code, f"{error.message}; it was tried for {hours} hours without success", now=now
        )
    else:
        delay = pace.retry_delay(
            export.attempts + 1, random=kit.random, retry_after=error.retry_after
        )
        export.put_off(max(delay, least or delay), now=now)
    _log.warning(
        "step failed",
        export_id=str(export.id),
        state=str(export.state),
        attempt=export.attempts,
        code=error.code,
        message=error.message,
    )
