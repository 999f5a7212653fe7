"""Skew: how far Uplynk's clock is from ours, learnt from the replies' `Date`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from worker.headers import date_of

_DATE_STEP = timedelta(seconds=1)  # `Date` leaves out what is less than a second (RFC 9110, 5.6.7)

# Clocks that are no further apart count as equal: no server minds, and whoever measures errs too.
SLACK = timedelta(seconds=5)

# Further off no clock is that TLS works with: then it is the `Date` that is wrong.
_MOST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Exchange:
    """When a request was sent and its answer was there, by our clock."""

    sent_at: datetime
    answered_at: datetime


class Skew:
    """What is known of Uplynk's clock; threads may share it.

    What was measured and what is corrected for are two things. A `Date` may be wrong itself, a
    proxy's say: calls are signed by it only once a call that was signed so was let in, while those
    signed otherwise were not.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._measured: timedelta | None = None
        self._correction = timedelta()

    @property
    def measured(self) -> timedelta | None:
        """How far Uplynk's clock is ahead of ours (behind: negative); None before any reply."""
        with self._lock:
            return self._measured

    @property
    def correction(self) -> timedelta:
        """What is added to our time before a call is signed."""
        with self._lock:
            return self._correction

    def measure(self, headers: Mapping[str, str], exchange: Exchange) -> None:
        """Learn from the `Date` of a reply, if it has one.

        The reply was dated between its request and its arrival: as long as what is known fits into
        that, give or take SLACK, nothing changes. Clocks that agree are 0 apart exactly.
        """
        dated = date_of(headers.get("Date"))
        if dated is None:
            return
        early, late = sorted((dated - exchange.answered_at, dated - exchange.sent_at))
        if max(abs(early), abs(late)) > _MOST:
            return
        late += _DATE_STEP
        with self._lock:
            for known in (self._measured, timedelta()):
                if known is not None and early - SLACK <= known <= late + SLACK:
                    self._measured = known
                    return
            self._measured = early + (late - early) / 2

    def correct(self, correction: timedelta) -> None:
        """From now on sign with this correction, which has just proved right."""
        with self._lock:
            self._correction = correction
