"""Parent: a worker that another process of ours keeps ends when that process is gone."""

import os
import signal
import time
from threading import Thread

VARIABLE = "UPLYNK_EXPORT_PARENT"

LOOK_SECONDS = 1.0
GRACE_SECONDS = 10.0


def end_with_parent() -> None:
    """Watch the parent that the environment names, if it names one, from a thread."""
    if expected := os.environ.get(VARIABLE):
        Thread(target=_watch, args=(int(expected),), name="parent-watch", daemon=True).start()


def _watch(expected: int) -> None:
    while os.getppid() == expected:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)  # without its broker it may not come to an end by itself
    os._exit(1)
