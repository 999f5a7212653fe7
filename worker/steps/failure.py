"""Failure: what becomes of an export whose step did not do what it is there for."""

from datetime import datetime, timedelta

from models import Export, State, claims
from worker import pace, tracing
from worker.errors import ExportError, Transient
from worker.logs import get_logger
from worker.steps import ledger
from worker.steps.kit import Kit

# Backing off, these take a quarter of an hour at the longest.
LEAST_TRIES = 10

# What a call to Uplynk ends with where Uplynk is away, or does not let us in.
OF_UPLYNK = frozenset(
    {
        "uplynk_unreachable", "uplynk_unavailable", "uplynk_unreadable", "uplynk_busy",
        "uplynk_credentials", "outcome_unknown",
    }
)  # fmt: skip

_log = get_logger(__name__)


def record(
    kit: Kit, export: Export, error: ExportError, *, now: datetime, least: timedelta | None = None
) -> None:
    """Set down that a step failed: to be taken again later, or the end of the export.

    A Transient is retried with backoff until the step has failed for RETRY_DEADLINE_HOURS without
    a break, or the export has taken TOTAL_DEADLINE_HOURS; anything else ends it at once. While
    Uplynk is away as a whole, that is no failure of the export's.

    Args:
        kit: what to work with.
        export: the row, held under its claim.
        error: what went wrong.
        now: the time.
        least: the shortest delay that makes sense here.
    """
    if not isinstance(error, Transient):
        export.fail(error.code, error.message, now=now)
    elif kit.circuit.is_open and error.code in OF_UPLYNK:
        delay = pace.retry_delay(1, random=kit.random, retry_after=error.retry_after)
        export.release(due_at=now + max(delay, least or delay))
    elif is_hopeless(kit, export, now=now):
        export.fail(
            error.code,
            f"{error.message}; it was tried for {_hours(kit.settings.retry_deadline)} hours"
            f" without success, {export.attempts + 1} times",
            now=now,
        )
    elif pace.is_over(export.begun_at, limit=kit.settings.total_deadline, now=now):
        export.fail(
            "total_deadline",
            f"it was not stored within {_hours(kit.settings.total_deadline)} hours"
            f" (TOTAL_DEADLINE_HOURS); last: {error.code}: {error.message}",
            now=now,
        )
    else:
        delay = pace.retry_delay(
            export.attempts + 1, random=kit.random, retry_after=error.retry_after
        )
        export.put_off(max(delay, least or delay), now=now)
    ledger.current().failure(export, error)
    tracing.trouble(error.code)
    if export.state is State.FAILED:
        tell_end(export)
        return
    _log.warning(
        "step failed",
        state=str(export.state),
        attempt=export.attempts,
        code=error.code,
        message=error.message,
    )


def tell_end(export: Export) -> None:
    """Log that an export failed: for it to go on, a person has to do something."""
    code, message = export.error_code, export.error_message
    _log.error("export failed", asset=export.asset, code=code, message=message)


def _hours(limit: timedelta) -> str:
    return f"{limit.total_seconds() / 3600:g}"


def is_hopeless(kit: Kit, export: Export, *, now: datetime) -> bool:
    """Return whether a step has failed for so long, and so often, that it is given up."""
    return _has_failed_for(kit, export, kit.settings.retry_deadline, now=now)


def is_deadly(kit: Kit, export: Export, *, now: datetime) -> bool:
    """Return whether nobody lives to set down how the step failed.

    Each failure that is set down gives up at the deadline; at twice that time, none was.
    """
    return _has_failed_for(kit, export, 2 * kit.settings.retry_deadline, now=now)


def _has_failed_for(kit: Kit, export: Export, limit: timedelta, *, now: datetime) -> bool:
    """Return whether a step has failed for so long, and often enough for that to mean anything.

    An export that nobody tried for a day has not failed for a day; and an outage of Uplynk's does
    not count.
    """
    since, outage_ended_at = export.failing_since, kit.circuit.ended_at
    if since is not None and outage_ended_at is not None:
        since = max(since, outage_ended_at)
    return export.attempts >= LEAST_TRIES and pace.is_over(since, limit=limit, now=now)


def record_unforeseen(
    kit: Kit, export: Export, error: Exception, *, least: timedelta | None = None
) -> None:
    """Set down that a step met what nobody foresaw, a bug of ours.

    It is retried as any other trouble, so that the export ends in words and not never.
    """
    _log.error("step met the unforeseen", exc_info=error)
    trouble = Transient("unforeseen", f"the worker met what it did not foresee ({error!r:.200})")
    with kit.sessions.begin() as session:
        if held := claims.held(session, export.id, export.claim):
            record(kit, held, trouble, now=kit.now(), least=least)
