"""Patience: a guard for transfers that are short, or else not worth waiting for."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from worker.errors import Stopping, Transient


class Patience:
    """Stops what takes longer than so many seconds in all, and when the worker is told to stop.

    Args:
        seconds: how long it lasts, from now on.
        stopping: whether the worker was told to stop.
    """

    def __init__(self, seconds: float, stopping: Callable[[], bool]) -> None:
        self._end = time.monotonic() + seconds
        self._stopping = stopping

    @property
    def is_over(self) -> bool:
        """Whether it was longer than that."""
        return time.monotonic() >= self._end

    def check(self) -> None:
        """Let the transfer go on.

        Raises:
            Stopping: the worker was told to stop.
            Transient: it takes too long.
        """
        if self._stopping():
            raise Stopping
        if self.is_over:
            raise Transient("file_stalled", "it did not come in time")

    def progress(self, _done: int, _total: int | None) -> None:
        """Check, as there is nobody to tell."""
        self.check()

    @contextmanager
    def watched(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Have `interrupt` called when it is over; raises as `check` does."""
        self.check()
        timer = Timer(max(self._end - time.monotonic(), 0), interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
