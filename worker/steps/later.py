"""Later: what is needed only where something lasts is begun only where it does."""

import time
from collections.abc import Callable
from threading import Lock, Thread

from worker.logs import get_logger

SECONDS = 0.25
# Where no thread is to be had it is tried again after this.
AGAIN_SECONDS = 1.0

_log = get_logger(__name__)


class Later:
    """Begins things from a thread of its own, a moment after they were asked for.

    Most are called off before. The thread ends where nothing waits any more.

    Args:
        seconds: a moment is so long, up to twice as long.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = Lock()
        self._waiting = dict[Callable[[], None], float]()
        self._thread: Thread | None = None

    def begin(self, what: Callable[[], None]) -> None:
        """Have `what` called a moment later. Where it has no thread to give, that is tried again.

        Raises:
            RuntimeError: this machine has no more threads to give.
        """
        with self._lock:
            self._waiting[what] = time.monotonic() + self._seconds
            if self._thread is None or not self._thread.is_alive():  # not in a process that forked
                thread = Thread(target=self._look, name="later", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    del self._waiting[what]
                    raise
                self._thread = thread

    def call_off(self, what: Callable[[], None]) -> bool:
        """Have `what` not called any more; False where it was."""
        with self._lock:
            return self._waiting.pop(what, None) is not None

    def _look(self) -> None:
        while True:
            time.sleep(self._seconds)
            with self._lock:
                now = time.monotonic()
                for what in [what for what, at in self._waiting.items() if at <= now]:
                    try:
                        what()
                    except RuntimeError as error:
                        self._waiting[what] = now + AGAIN_SECONDS
                        _log.warning("no thread to be had", message=str(error))
                        continue
                    del self._waiting[what]
                if not self._waiting:
                    self._thread = None
                    return
