"""How many calls a second the account may make."""

import time
from collections.abc import Callable


class Rate:
    """A bucket that holds one second's worth of calls.

    Args:
        calls_per_second: The rate in real time, or None for no limit.
        real: A monotonic count of real seconds.
    """

    def __init__(
        self, calls_per_second: float | None, real: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = calls_per_second
        self._real = real
        self._since = real()
        self._left = self._full

    @property
    def _full(self) -> float:
        return max(1.0, self._rate or 0.0)

    def allows(self) -> bool:
        """Take one call out of the bucket, and tell whether it was there."""
        if self._rate is None:
            return True
        now = self._real()
        self._left = min(self._full, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
