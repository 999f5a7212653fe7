"""Part: a file that is on its way, and what its bytes are bytes of.

Beside `{export_id}-{claim}.part` lies its journal, `{export_id}-{claim}.journal`. It says what the
bytes belong to, which of them are there, and which of them are on the disk for sure. A part without
a readable journal is worth nothing, so whatever gets lost, nothing wrong is gone on with: the
journal is emptied before the part is, and says more only after the part holds it.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Any

from worker import held
from worker.transfer.journal import Journal, journal_of
from worker.transfer.spans import Spans

# How much the death of its writer may cost.
NOTE_BYTES = 1 << 20
# How much a power cut may cost, at the least.
SYNC_BYTES = 32 << 20
# What is told of each piece that came: at which byte, and the piece.
Heard = Callable[[int, memoryview], None]

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a part's bytes are bytes of.

    Attributes:
        url: where they come from, without its query, which may be a signature.
        validator: a strong ETag or a Last-Modified: as long as it is the same, so is the file.
        total_bytes: how long the file is, if the server said so.
    """

    url: str
    validator: str
    total_bytes: int | None


class Part:
    """A part file that is ours: as long as it is open, nobody else writes to it or takes it over.

    Several threads may write to it, each its own bytes, while others read what is there.

    Attributes:
        path: where it is.
        origin: what its bytes belong to; None if that is not known, and it can't be gone on with.
        generation: how often it was begun anew; what was read before that is worth nothing.
        listeners: are told of each piece that came, from the thread that wrote it.
    """

    def __init__(self, path: Path, data: FileIO, journal: Journal) -> None:
        self.path = path
        self.origin: Origin | None = None
        self.generation = 0
        self.listeners: list[Heard] = []
        self._data = data
        self._journal = journal
        self._there = Spans()
        self._noted_bytes = self._synced_bytes = 0
        self._is_wanted = True
        self._failure: OSError | None = None
        self._lock = Lock()
        if not journal.is_blank:
            self._recall()

    @property
    def size_bytes(self) -> int:
        """How many of the file's bytes are there."""
        with self._lock:
            return self._there.size_bytes

    @property
    def prefix_bytes(self) -> int:
        """How many are there before the first that is lacking."""
        with self._lock:
            return self._there.prefix_bytes

    @property
    def unsynced_bytes(self) -> int:
        """How many are there of which it is not known that the disk has them; 0 if none need be."""
        with self._lock:
            is_synced = self.origin is not None and self._failure is None
            return self._there.size_bytes - self._synced_bytes if is_synced else 0

    def gaps(self, total_bytes: int | None) -> list[tuple[int, int | None]]:
        """Return the spans that are lacking; where the length is None, the last has no end."""
        with self._lock:
            return list(self._there.gaps(total_bytes))

    def begin(self, origin: Origin | None) -> None:
        """Forget all bytes; those that follow belong to `origin`."""
        with self._lock:
            self.origin = None
            self.generation += 1
            self._journal.empty()
            self._data.truncate(0)
            self._there = Spans()
            self._noted_bytes = self._synced_bytes = 0
            if origin is not None:
                # after a power cut no byte counts before it is noted as synced, and this with it
                self._note({**asdict(origin), "boot": _boot()})
                self.origin = origin

    def write(self, at: int, piece: memoryview | bytes) -> None:
        """Have `piece` at the byte `at`; it must not change any more.

        Raises:
            OSError: the disk does not take it, or did not take what came before.
        """
        if self._failure is not None:
            raise self._failure
        view, to = memoryview(piece), at
        while view:  # unbuffered, so it may take less; on a full disk it does
            written = os.pwrite(self._data.fileno(), view, to)
            view, to = view[written:], to + written
        with self._lock:
            self._there.add(at, to)
            if self.origin is not None and self._unnoted_bytes >= NOTE_BYTES:
                self._note_there()
        for listener in self.listeners:
            listener(at, memoryview(piece))

    def read(self, at: int, into: memoryview) -> int:
        """Read the bytes from `at` on; returns how many they are."""
        return os.preadv(self._data.fileno(), [into], at)

    def sync(self, *, least_bytes: int = SYNC_BYTES, is_noted: bool = True) -> None:
        """Have on the disk what is there, and know it; nothing if less than `least_bytes` came.

        What is not noted is not known after a power cut.

        Where the disk fails, nothing of the part is trusted any more, by anybody: a later attempt
        may succeed over pages that the system has dropped since (fsync(2), "errors").

        Raises:
            OSError: it fails.
        """
        with self._lock:
            generation, there = self.generation, list(self._there)
            size = self._there.size_bytes
            if self.origin is None or size - self._synced_bytes < least_bytes:
                return
        try:
            os.fdatasync(self._data.fileno())
            with self._lock:
                if generation != self.generation:
                    return
                if is_noted:
                    self._note({"synced": there})
            if is_noted:
                self._journal.sync()
            self._synced_bytes = size
        except OSError as error:
            self._fail(error)
            raise

    def _fail(self, error: OSError) -> None:
        with self._lock:
            self._failure = error
            self._is_wanted = False
            with suppress(OSError):
                self._journal.empty()

    def discard(self) -> None:
        """Have it removed when it is closed: nobody is to go on with it."""
        self._is_wanted = False

    def close(self) -> None:
        """Let go of it; it stays for the next one, if there is something to go on with.

        There is nothing where the file was moved away, into the storage.
        """
        is_there = held.owns(self._data, self.path)
        if not self._is_wanted or self.origin is None or not is_there:
            held.unlink(self._data, self.path)
            self._journal.remove(journal_of(self.path))
        elif self._unnoted_bytes and self._failure is None:
            with suppress(OSError):  # then that much comes again
                self._note_there()
        self._journal.close()
        self._data.close()

    def _recall(self) -> None:
        """Learn from the journal what is there, and forget what may never have reached the disk.

        Since the machine last started, the system's memory has all that was written, by whomever.
        """
        noted = self._journal.read()
        boot, here = noted.pop("boot", None), _boot()
        try:
            there, synced = Spans(noted.pop("there", ())), Spans(noted.pop("synced", ()))
            origin = Origin(**noted)
        except (TypeError, ValueError):  # no journal, or one of another kind
            self.begin(None)
            return
        is_remembered = boot is not None and boot == here
        known = Spans([*there, *synced] if is_remembered else list(synced))
        size = os.fstat(self._data.fileno()).st_size
        self._there, synced = known.cut(size), synced.cut(size)
        # before anything can grow where something was: what is no longer there is no longer synced
        self._note({"there": list(self._there), "synced": list(synced), "boot": here})
        self._journal.sync()
        self._data.truncate(max((end for _, end in self._there), default=0))
        self._noted_bytes = self._there.size_bytes
        self._synced_bytes = min(synced.size_bytes, self._noted_bytes)
        self.origin = origin

    @property
    def _unnoted_bytes(self) -> int:
        return self._there.size_bytes - self._noted_bytes

    def _note_there(self) -> None:
        self._note({"there": list(self._there)})
        self._noted_bytes = self._there.size_bytes

    def _note(self, members: dict[str, Any]) -> None:
        if self._failure is None:
            self._journal.note(members)


@cache
def _boot() -> str | None:
    """Return what this start of the machine is called; None where it has no name (not Linux)."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return None
