"""Headers: the times that HTTP replies tell (RFC 9110)."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


def date_of(value: str | None) -> datetime | None:
    """Read an HTTP date; None if it is none."""
    try:
        at = parsedate_to_datetime(value or "")
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):  # the latter for a year of twenty digits
        return None


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read a Retry-After header, seconds or an HTTP date (RFC 9110, 10.2.3); None if neither."""
    if not value:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value[:9]), 10**8))
    at = date_of(value)
    return None if at is None else max(at - now, timedelta())
