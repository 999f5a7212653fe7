"""Crew: threads that work for one step side by side, where most of it is to wait for others."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Lock

# So many work for one step.
LANES = 4
# Work that takes longer than this holds up the rest of its step no more.
LATE_SECONDS = 5.0
# A step that takes longer than this makes room for others, and goes on later.
STEP_SECONDS = 5.0
# What is claimed may wait about this long for one of the threads to be free.
AHEAD_SECONDS = 0.1
# So many work at once, for whatever steps of a process; none waits for another's end.
MOST = 128


class Crew:
    """Threads that are made when they are needed, and stay, with their connections.

    Args:
        lanes: how many work for one step.
        late_seconds: after so long the others of a step go on without one of them, and what is
            claimed and waits for them is given back.
        step_seconds: after so long a step takes up nothing more.
        ahead_seconds: as much may be claimed ahead as they do in this time.

    Attributes:
        turn: is held for what they can only do one after the other: who waits for it here keeps no
            connection to the database waiting.
    """

    def __init__(
        self,
        lanes: int = LANES,
        *,
        late_seconds: float = LATE_SECONDS,
        step_seconds: float = STEP_SECONDS,
        ahead_seconds: float = AHEAD_SECONDS,
    ) -> None:
        self.lanes = lanes
        self.late_seconds, self.step_seconds = late_seconds, step_seconds
        self.ahead_seconds = ahead_seconds
        self._lock, self.turn = Lock(), Lock()
        self._pool: ThreadPoolExecutor | None = None

    def start(self, work: Callable[[], None]) -> Future[None]:
        """Have `work` begun in a thread.

        What is logged and counted there is of the calling task.
        """
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(MOST, thread_name_prefix="crew")
            return self._pool.submit(copy_context().run, work)
