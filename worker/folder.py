"""Folder: a place for files in which each appears whole, and stays."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from worker import held

PIECE_BYTES = 4 << 20
# Whoever is told to stop waits for the disk no longer than it takes for this.
SYNC_BYTES = 32 << 20
# This many may publish the same file at the same time.
MOST_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder `root`; it is made when it is needed.

    A file grows as `.{name}.{n}.staging` beside where it is to be: a rename within a folder is one
    step to whoever looks. What a killed process left of that name is removed by the next.
    """

    root: Path

    def move_in(self, path: Path, key: str, check: Callable[[], None]) -> bool:
        """Have the file at `path` appear under `key` instead, proof against a power cut.

        Nothing is copied, and nobody may write to the file any more. False if it is on another file
        system, and still where it was.

        Args:
            path: where it is.
            key: a plain relative path.
            check: is called just before it appears, and may raise.

        Raises:
            OSError: it can't be moved.
        """
        final = self.root / key
        final.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        check()
        try:
            path.replace(final)
        except OSError as error:
            if error.errno == errno.EXDEV:
                return False
            raise
        self._sync_names(final)
        return True

    def publish(self, source: BinaryIO, key: str, check: Callable[[], None]) -> None:
        """Have what `source` gives appear under `key`, whole, and proof against a power cut.

        Args:
            source: is read to its end.
            key: a plain relative path.
            check: is called between pieces and just before it appears, and may raise.

        Raises:
            OSError: it can't be written.
        """
        final = self.root / key
        final.parent.mkdir(parents=True, exist_ok=True)
        staged, path = _staging(final)
        with staged:
            try:
                _copy(source, staged, check)
                check()
                path.replace(final)
            except BaseException:
                with suppress(OSError):
                    path.unlink()
                raise
        self._sync_names(final)

    def _sync_names(self, final: Path) -> None:
        for each in final.relative_to(self.root).parents:
            _sync(self.root / each)


def _staging(final: Path) -> tuple[FileIO, Path]:
    paths = [final.with_name(f".{final.name}.{n}.staging") for n in range(MOST_AT_ONCE)]
    for path in paths:
        if left := held.take(path):
            with left:
                path.unlink()
    for path in paths:
        with suppress(FileExistsError):
            return held.make(path), path
    raise OSError(errno.EBUSY, "too many are at it at the same time", str(final))


def _copy(source: BinaryIO, target: FileIO, check: Callable[[], None]) -> None:
    unsynced = 0
    while piece := source.read(PIECE_BYTES):
        check()
        view = memoryview(piece)
        while view:  # unbuffered, so it may take less; on a full disk it does
            view = view[target.write(view) :]
        unsynced += len(piece)
        if unsynced >= SYNC_BYTES:
            os.fsync(target.fileno())
            unsynced = 0
    os.fsync(target.fileno())


def _sync(folder: Path) -> None:
    """Have the names in the folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
