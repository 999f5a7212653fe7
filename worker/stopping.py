"""Stopping: a worker that is told to stop does so within seconds, whatever it is at."""

import os
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.sharedctypes import RawValue
from typing import Any

from worker.logs import get_logger

# A step leaves off within a second or two; only a call to Uplynk that has no answer yet lasts
# longer. Claims recover what is cut off. Everything is over within 10 s.
GRACE_SECONDS = 8.0

_log = get_logger(__name__)


class Stopping:
    """That this worker is to stop, known to its main process and the children that it forks."""

    def __init__(self) -> None:
        self._told = RawValue("b", 0)

    def is_set(self) -> bool:
        """Return whether the worker was told to stop."""
        return bool(self._told.value)

    def begin(self, children: Callable[[], Iterable[Any]]) -> None:
        """Tell all steps to leave off, and end what has not after the grace.

        Args:
            children: gives the processes of the pool that still run.
        """
        if self.is_set():
            return
        self._told.value = 1
        timer = threading.Timer(GRACE_SECONDS, _end, (children,))
        timer.daemon = True
        timer.start()


def leave_off_at(number: signal.Signals, begin: Callable[[], None]) -> None:
    """Have `begin` called when this signal comes, before the handler that is there.

    That is Celery's, which waits for the steps, and takes a lock that it never gets if the same
    signal comes once more meanwhile: to a process and to all of its group, say. What comes while it
    is handled says nothing new.
    """
    handle = signal.getsignal(number)
    is_handled = False

    def leave_off(*arguments: Any) -> None:  # noqa: ANN401  (a signal handler's)
        nonlocal is_handled
        if is_handled:
            return
        is_handled = True
        try:
            begin()
            if callable(handle):
                handle(*arguments)
        finally:
            is_handled = False

    signal.signal(number, leave_off)


def _end(children: Callable[[], Iterable[Any]]) -> None:
    _log.warning("worker ended while a step was under way")
    for child in children():
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    os._exit(0)
