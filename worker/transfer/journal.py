"""Journal: what is known of a part's bytes, in lines of JSON that are only ever added to.

A later line stands over an earlier one, member by member. A line that was torn by a kill or a full
disk is as if it had never been.
"""

import json
import os
from io import FileIO
from pathlib import Path
from typing import Any

from worker import held


def journal_of(part: Path) -> Path:
    """Return where the journal of the part at `part` is."""
    return part.with_suffix(".journal")


class Journal:
    """A journal that is ours, as the part is beside which it lies.

    Args:
        file: it, open.
        is_new: whether it was made just now.

    Attributes:
        is_blank: whether the disk has no line of it.
    """

    def __init__(self, file: FileIO, *, is_new: bool = False) -> None:
        self._file = file
        self.is_blank = is_new

    def read(self) -> dict[str, Any]:
        """Return what the lines say, or nothing if one of them can't be read.

        A torn end is cut off.
        """
        noted: dict[str, Any] = {}
        self._file.seek(0)
        lines = self._file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        try:
            for line in whole.splitlines():
                noted |= json.loads(line)
        except (ValueError, TypeError):
            return {}
        self._file.truncate(len(whole))
        return noted

    def note(self, members: dict[str, Any]) -> None:
        """Add a line.

        Raises:
            OSError: the disk does not take it; the lines before it stand.
        """
        self.is_blank = False
        start = self._file.seek(0, os.SEEK_END)
        line = memoryview(f"{json.dumps(members)}\n".encode())
        try:
            while line:  # on a full disk it takes less
                line = line[self._file.write(line) :]
        except OSError:
            self._file.truncate(start)  # a torn line would take the rest with it
            raise

    def empty(self) -> None:
        """Have it say nothing any more, on the disk as well.

        Raises:
            OSError: the disk does not take that.
        """
        if not self.is_blank:
            self._file.truncate(0)
            self._file.seek(0)
            self.sync()
            self.is_blank = True

    def sync(self) -> None:
        """Have all its lines on the disk.

        Raises:
            OSError: the disk does not take them.
        """
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of it; it stays."""
        self._file.close()

    def remove(self, path: Path) -> None:
        """Take its name away, if it is still `path`."""
        held.unlink(self._file, path)
