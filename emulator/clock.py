"""The emulator's time, which can run fast and can be put forward."""

import math
import time
from collections.abc import Callable


class Clock:
    """Emulator time: start + real time gone by x speed + what was advanced.

    Args:
        start: Unix time in seconds at which emulator time begins.
        speed: Emulator seconds that go by in one real second.
        real: A monotonic count of real seconds.
    """

    def __init__(
        self, start: float, speed: float = 1.0, real: Callable[[], float] = time.monotonic
    ) -> None:
        self._real = real
        self._base = start
        self._since = real()
        self._speed = _checked_speed(speed)

    @property
    def speed(self) -> float:
        """Emulator seconds that go by in one real second."""
        return self._speed

    def now(self) -> float:
        """Return the emulator's Unix time in seconds."""
        return self._base + (self._real() - self._since) * self._speed

    def advance(self, seconds: float) -> None:
        """Put emulator time forward; it never goes back."""
        if not 0 <= seconds < math.inf:
            raise ValueError("advance_seconds must be a number, 0 or more")
        self._base += seconds

    def run_at(self, speed: float) -> None:
        """Change the speed from now on; the time gone by so far stays as it was."""
        speed = _checked_speed(speed)
        self._base, self._since = self.now(), self._real()
        self._speed = speed


def _checked_speed(speed: float) -> float:
    if not 0 <= speed < math.inf:
        raise ValueError("speed must be a number, 0 or more")
    return speed
