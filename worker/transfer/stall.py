"""Stall: a stream that still comes, but so slowly that it would never end."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.errors import Transient


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that must come: so many bytes a second, on the average of so many seconds."""

    bytes_per_second: float
    seconds: float = 60.0


class Meter:
    """Counts what one stream brings.

    Args:
        floor: the least that it must bring.
        clock: the time in seconds, from anywhere on.
    """

    def __init__(self, floor: Floor, clock: Callable[[], float] = time.monotonic) -> None:
        self._floor = floor
        self._clock = clock
        self._since = clock()
        self._bytes = 0

    def add(self, size_bytes: int) -> None:
        """Note that so many bytes came.

        Raises:
            Transient: too few have come.
        """
        self._bytes += size_bytes
        seconds = self._clock() - self._since
        if seconds < self._floor.seconds:
            return
        if self._bytes < self._floor.bytes_per_second * seconds:
            raise Transient(
                "file_stalled",
                f"{self._bytes} bytes came in {seconds:.0f} s, and"
                f" {self._floor.bytes_per_second:g} a second must"
                " (DOWNLOAD_MIN_BYTES_PER_SECOND)",
            )
        self._since, self._bytes = self._clock(), 0
