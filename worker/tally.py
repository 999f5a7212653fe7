"""Tally: what a worker's processes did, counted by each for itself and added up when it is read.

Each process counts in a file of its own that it has in its memory: to count takes two microseconds,
and waits for no other process. One that is killed leaves its numbers, and its file is free for the
next process, which goes on with them: the kernel gives back its lock. So no number is lost or goes
back as long as the worker lives, and there are no more files than there were processes at once.

prometheus_client has a multiprocess mode. It takes its folder from the environment when it is first
imported; Celery's command line does that before a line of ours is run, where Flower is installed.
And it keeps a file of each process that there ever was.
"""

import errno
import mmap
import os
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from itertools import product
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from threading import Lock
from typing import Any, Self
from weakref import finalize

from worker import held
from worker.cloudslicer.client import CALLS
from worker.cloudslicer.reply import OUTCOMES
from worker.logs import get_logger

# A call's seconds are told by how many calls took no longer than each of these; the rest are more.
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# More than this count for themselves only.
MOST_PROCESSES = 1000

# Where each number stands in a file: ends of calls, then a row for each call, then the bytes.
_ENDS = {end: place for place, end in enumerate(product(CALLS, OUTCOMES))}
_ROW = len(BOUNDS) + 2  # the calls within each bound, those beyond, and the seconds of all
_ROWS = {call: len(_ENDS) + number * _ROW for number, call in enumerate(CALLS)}
_CAME = len(_ENDS) + len(CALLS) * _ROW
_NUMBERS = _CAME + 1
_BYTES = _NUMBERS * array("d").itemsize

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all processes of a worker did since it started.

    Attributes:
        ends: by call and outcome, how many attempts ended so.
        within: by call, how many took no longer than each of BOUNDS, but longer than the one
            before; at the end, how many took longer than all.
        seconds: by call, how many seconds its attempts took together.
        came_bytes: how many bytes of films came.
    """

    ends: Mapping[tuple[str, str], float]
    within: Mapping[str, Sequence[float]]
    seconds: Mapping[str, float]
    came_bytes: float


class Tally:
    """Counts what this process does.

    Args:
        folder: where each process that counts in this tally, or in another of this folder, has its
            file; None to count in memory, for this process only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = Lock()  # of the process' own threads
        self._pid = 0
        self._numbers: Any = array("d", [0.0] * _NUMBERS)

    @classmethod
    def shared(cls) -> Self:
        """Return one for a worker and the children that it forks; its folder goes with it."""
        folder = Path(mkdtemp(prefix="uplynk-export-"))
        tally = cls(folder)
        finalize(tally, rmtree, folder, ignore_errors=True)
        return tally

    def called(self, call: str, outcome: str, seconds: float) -> None:
        """Note an attempt at a call to Uplynk, how it ended, and how long it took."""
        end, row = _ENDS.get((call, outcome)), _ROWS.get(call)
        if end is None or row is None:
            return
        with self._lock:
            numbers = self._mine()
            numbers[end] += 1
            numbers[row + bisect_left(BOUNDS, seconds)] += 1
            numbers[row + _ROW - 1] += seconds

    def came(self, size_bytes: int) -> None:
        """Note that so many bytes of a film came."""
        with self._lock:
            self._mine()[_CAME] += size_bytes

    def totals(self) -> Totals:
        """Return what all processes did."""
        every = [self._numbers] if self._folder is None else _read(self._folder)
        sums = [sum(each) for each in zip(*every, strict=True)] or [0.0] * _NUMBERS
        return Totals(
            ends={end: sums[place] for end, place in _ENDS.items()},
            within={call: sums[row : row + _ROW - 1] for call, row in _ROWS.items()},
            seconds={call: sums[row + _ROW - 1] for call, row in _ROWS.items()},
            came_bytes=sums[_CAME],
        )

    def _mine(self) -> Any:  # noqa: ANN401  (an array, or a file that looks like one)
        """Return the numbers of this process; after a fork a child takes others than its parent's.

        That the files can't be written to must cost no export: then nobody reads these numbers.
        """
        if self._folder is not None and self._pid != os.getpid():
            self._pid = os.getpid()
            try:
                with _taken(self._folder) as file:  # what maps it has it open, and so keeps it ours
                    self._numbers = memoryview(mmap.mmap(file.fileno(), _BYTES)).cast("d")
            except OSError as error:
                self._numbers = array("d", [0.0] * _NUMBERS)
                _log.warning("calls are not counted", message=str(error))
        return self._numbers


def _taken(folder: Path) -> FileIO:
    """Return a file that nobody else has: one that somebody left, or a new one of zeros.

    Raises:
        OSError: it can't be had, or there is no room for it.
    """
    folder.mkdir(exist_ok=True)  # whoever tidies up temporary folders may have taken it
    for number in range(MOST_PROCESSES):
        path = folder / f"{number}.tally"
        with suppress(FileExistsError, BlockingIOError):  # another has it, or just takes it
            file = held.take(path) or held.make(path, waits=False)
            # the room is taken now: to write where a full disk has none ends the process
            os.posix_fallocate(file.fileno(), 0, _BYTES)
            return file
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(folder))


def _read(folder: Path) -> list[Sequence[float]]:
    found: list[Sequence[float]] = []
    for path in folder.glob("*.tally"):
        with suppress(OSError, ValueError):  # one that is just being made is of no length yet
            numbers = array("d", path.read_bytes())
            if len(numbers) == _NUMBERS:
                found.append(numbers)
    return found
