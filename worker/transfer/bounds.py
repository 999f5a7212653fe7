"""Bounds: how large a file may be, and whether there is room for it."""

import errno
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.errors import Permanent, Transient

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def free_bytes(folder: Path) -> int:
    """Return how many bytes may be written below `folder`."""
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a file may be, and how much room is to be left on the disk.

    Attributes:
        most_bytes: the largest file that is taken.
        reserve_bytes: what must be free all the same; other downloads write there too.
        free: tells how many bytes may be written below a folder.
    """

    most_bytes: int
    reserve_bytes: int
    free: Callable[[Path], int] = free_bytes

    def check_size(self, size_bytes: int) -> None:
        """Let a file pass that has, or will have, so many bytes.

        Raises:
            Permanent: it is too large.
        """
        if size_bytes > self.most_bytes:
            raise Permanent(
                "file_too_large",
                f"the file has {size_bytes} bytes or more; MAX_FILE_BYTES is {self.most_bytes}",
            )

    def check_room(self, folder: Path, coming_bytes: int) -> None:
        """See that `folder` has room for so many bytes, and the reserve after that.

        Raises:
            Transient: it has not.
            OSError: it can't be told.
        """
        free = self.free(folder)
        if free - self.reserve_bytes < coming_bytes:
            raise Transient(
                "scratch_full",
                f"SCRATCH_DIR has {free} bytes free, and {coming_bytes} are to come, with"
                f" {self.reserve_bytes} to be left (SCRATCH_RESERVE_BYTES); make room there",
            )
