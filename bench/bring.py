"""Bring: `python -m bench.bring URL FOLDER [EXPORT]` brings a film as a worker does.

It is fetched, hashed, proven whole and published, by the code of the download step. What that took
is printed as JSON; the imports are not counted, since a worker has made them long before. With the
id of an export it goes on with what was left of that.
"""

import json
import re
import resource
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from uuid import UUID, uuid4

from worker.storage import Storage
from worker.transfer.bounds import Bounds
from worker.transfer.fetch import fetch
from worker.transfer.manner import Manner
from worker.transfer.parts import open_part
from worker.transfer.session import FileSession
from worker.transfer.stall import Floor
from worker.transfer.verify import verify


class Unhindered:
    """A guard that stops nothing."""

    def check(self) -> None:
        """Go on."""

    def progress(self, done: int, total: int | None) -> None:
        """Go on."""

    def watched(self, _interrupt: object) -> AbstractContextManager[None]:
        """Never interrupt."""
        return nullcontext()


def peak_mib(process: str) -> float:
    """Return the most memory that a process has had, in MiB.

    As Linux tells it of this program; what getrusage tells includes the parent's before the exec.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    """Bring the film, and print what it took as JSON."""
    url, folder, *export = sys.argv[1:]
    export_id = UUID(export[0]) if export else uuid4()
    manner = Manner(most_streams=8, most_breaks=3, floor=Floor(1000))
    guard = Unhindered()
    begun, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    with FileSession(["127.0.0.1"]) as http, open_part(Path(folder), export_id, uuid4()) as part:
        left = part.size_bytes
        bounds = Bounds(most_bytes=1 << 50, reserve_bytes=0)
        fetched = fetch(http, url, part, guard=guard, bounds=bounds, manner=manner)
        verify(part.path, check=guard.check)
        Storage(Path(folder).as_uri()).publish(
            part.path, "film.mp4", content_type="video/mp4", check=guard.check, is_ours=True
        )
        part.discard()
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF)
    json.dump(
        {
            "seconds": seconds,
            "cpu_seconds": after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
            "peak_mib": peak_mib("self"),
            "left_bytes": left,
            "sha256": fetched.sha256,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
