"""Publisher: `python -m tests.publisher STORAGE_URL FILE CALLS` is killed in the middle of it.

That is at the check of this number.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

from worker.storage import Storage

if __name__ == "__main__":
    url, path, last = sys.argv[1:]
    calls = count(1)

    def check() -> None:
        """Die at the last call."""
        if next(calls) == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    Storage(url).publish(Path(path), "a/b.mp4", content_type="video/mp4", check=check)
