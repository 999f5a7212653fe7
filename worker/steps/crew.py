"""Crew: threads by which one step does the same for several exports, side by side."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Lock

# So many help at once in one process.
HELPERS = 8


class Crew:
    """Threads that help out. They are made when they are needed, and stay, with their connections.

    Args:
        helpers: how many there are; with none, each step works alone.
    """

    def __init__(self, helpers: int = HELPERS) -> None:
        self._number, self._lock = helpers, Lock()
        self._pool: ThreadPoolExecutor | None = None

    def together(self, work: Callable[[], None], number: int) -> None:
        """Have `work` done so often at once, by this thread and by helpers; returns when it is.

        A helper that has not come by the time this thread has done its own is not waited for.

        Raises:
            BaseException: what the first of them raised, after all have come to their end.
        """
        # in a context like this one: what is logged and counted there is of this task
        helping = [
            self._helpers().submit(copy_context().run, work)
            for _ in range(min(number - 1, self._number))
        ]
        try:
            work()
        finally:
            came = [each for each in helping if not each.cancel()]
            failed = [error for each in came if (error := each.exception())]
        if failed:
            raise failed[0]

    def _helpers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._number, thread_name_prefix="crew")
            return self._pool
