"""Part: a file that is on its way, and what its bytes are bytes of.

Beside `{export_id}-{claim}.part` lies a journal, `{export_id}-{claim}.journal`: lines of JSON, only
ever added to. They say what the bytes belong to, which of them are there, and which of them are on
the disk for sure. A part without a readable journal is worth nothing, so whatever gets lost,
nothing wrong is gone on with: the journal is emptied before the part is, and says more only after
the part holds it.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID

from worker import held
from worker.transfer.spans import Spans

# How much the death of its writer may cost.
NOTE_BYTES = 1 << 20
# How much a power cut may cost. The disk takes it in well under a second, so that a worker that is
# told to stop is not kept by it.
SYNC_BYTES = 32 << 20

_NAME = re.compile(r"([0-9a-f-]{36})-[0-9a-f-]{36}\.(?:part|journal)")
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
        heard: is told of each piece that came, from the thread that wrote it.
    """

    def __init__(self, path: Path, data: FileIO, journal: FileIO) -> None:
        self.path = path
        self.origin: Origin | None = None
        self.generation = 0
        self.heard: Callable[[int, memoryview], None] = lambda _at, _piece: None
        self._data = data
        self._journal = journal
        self._there = Spans()
        self._noted_bytes = self._synced_bytes = 0
        self._is_wanted = True
        self._lock = Lock()
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

    def gaps(self, total_bytes: int | None) -> list[tuple[int, int | None]]:
        """Return the spans that are lacking; where the length is None, the last has no end."""
        with self._lock:
            return list(self._there.gaps(total_bytes))

    def begin(self, origin: Origin | None) -> None:
        """Forget all bytes; those that follow belong to `origin`."""
        with self._lock:
            self.origin = None
            self.generation += 1
            self._journal.truncate(0)
            self._journal.seek(0)
            os.fsync(self._journal.fileno())
            self._data.truncate(0)
            self._there = Spans()
            self._noted_bytes = self._synced_bytes = 0
            if origin is not None:
                self._note({**asdict(origin), "boot": _boot()})
                os.fsync(self._journal.fileno())
                self.origin = origin

    def write(self, at: int, piece: memoryview | bytes) -> None:
        """Have `piece` at the byte `at`; it must not change any more."""
        view, to = memoryview(piece), at
        while view:  # unbuffered, so it may take less; on a full disk it does
            written = os.pwrite(self._data.fileno(), view, to)
            view, to = view[written:], to + written
        with self._lock:
            self._there.add(at, to)
            if self.origin is not None and self._unnoted_bytes >= NOTE_BYTES:
                self._note_there()
        self.heard(at, memoryview(piece))

    def read(self, at: int, into: memoryview) -> int:
        """Read the bytes from `at` on; returns how many they are."""
        return os.preadv(self._data.fileno(), [into], at)

    def sync(self, *, least_bytes: int = SYNC_BYTES) -> None:
        """Have on the disk what is there, and know it; nothing if less than `least_bytes` came."""
        with self._lock:
            generation, there = self.generation, list(self._there)
            size = self._there.size_bytes
            if self.origin is None or size - self._synced_bytes < least_bytes:
                return
        os.fdatasync(self._data.fileno())
        with self._lock:
            if generation == self.generation:
                self._note({"synced": there})
                os.fsync(self._journal.fileno())
                self._synced_bytes = size

    def discard(self) -> None:
        """Have it removed when it is closed: nobody is to go on with it."""
        self._is_wanted = False

    def close(self) -> None:
        """Let go of it; it stays for the next one, if there is something to go on with."""
        if not self._is_wanted or self.origin is None:
            _unlink(self._data, self.path)
            _unlink(self._journal, _journal_of(self.path))
        elif self._unnoted_bytes:
            with suppress(OSError):  # then that much comes again
                self._note_there()
        self._journal.close()
        self._data.close()

    def _recall(self) -> None:
        """Learn from the journal what is there, and forget what may never have reached the disk.

        Since the machine last started, the system's memory has all that was written, by whomever.
        """
        noted = _read(self._journal)
        boot, here = noted.pop("boot", None), _boot()
        try:
            there, synced = Spans(noted.pop("there", ())), Spans(noted.pop("synced", ()))
            origin = Origin(**noted)
        except (TypeError, ValueError):  # no journal, or one of another kind
            self.begin(None)
            return
        is_remembered = boot is not None and boot == here
        known = there if is_remembered else synced
        self._there = known.cut(os.fstat(self._data.fileno()).st_size)
        self._data.truncate(max((end for _, end in self._there), default=0))
        if not is_remembered:
            self._note({"there": list(self._there), "boot": here})
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
        self._journal.seek(0, os.SEEK_END)
        self._journal.write(f"{json.dumps(members)}\n".encode())


@contextmanager
def open_part(folder: Path, export_id: UUID, claim: UUID) -> Iterator[Part]:
    """Give the part of this export: what somebody left who is gone, or else a new one.

    One whose writer still lives, though it has lost its claim, is not touched: it goes on there
    unseen, if it ever does, and nothing that it writes is in ours.

    Args:
        folder: where parts are; it is made if it is not there.
        export_id: whose file it is.
        claim: the claim under which we bring it.

    Raises:
        OSError: the folder can't be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{export_id}-{claim}.part"
    part = _taken_over(folder, export_id, path) or _made(path)
    try:
        yield part
    finally:
        part.close()


def abandoned(folder: Path) -> set[UUID]:
    """Return the exports of which `folder` has parts that nobody writes to.

    Raises:
        OSError: the folder can't be read.
    """
    found = set()
    for path in folder.glob("*"):
        if (match := _NAME.fullmatch(path.name)) and (file := held.take(path)):
            file.close()
            with suppress(ValueError):
                found.add(UUID(match[1]))
    return found


def remove_abandoned(folder: Path, export_id: UUID) -> None:
    """Remove what `folder` has of this export, but for a part that somebody writes to.

    Raises:
        OSError: the folder can't be written to.
    """
    for path in folder.glob(f"{export_id}-*.part"):
        if file := held.take(path):
            with file:
                _unlink(file, path)
                _journal_of(path).unlink(missing_ok=True)
    for path in folder.glob(f"{export_id}-*.journal"):
        if not path.with_suffix(".part").exists() and (file := held.take(path)):
            with file:
                _unlink(file, path)


def _taken_over(folder: Path, export_id: UUID, path: Path) -> Part | None:
    """Return the longest part that was left and can be gone on with, under its new name."""
    found = [part for left in folder.glob(f"{export_id}-*.part") if (part := _opened(left))]
    found.sort(key=lambda part: part.size_bytes, reverse=True)
    for part in found[1:]:
        part.discard()
        part.close()
    for part in found[:1]:
        _journal_of(part.path).rename(_journal_of(path))  # killed in between, it is begun anew
        part.path = part.path.rename(path)
        return part
    return None


def _opened(path: Path) -> Part | None:
    if (data := held.take(path)) is None:
        return None
    journal = held.take(_journal_of(path)) or held.make(_journal_of(path))
    return Part(path, data, journal)


def _made(path: Path) -> Part:
    data = held.make(path)
    return Part(path, data, held.make(_journal_of(path)))


def _journal_of(path: Path) -> Path:
    return path.with_suffix(".journal")


def _read(journal: FileIO) -> dict[str, Any]:
    """Return what the lines say, the later ones over the earlier; a torn last one is cut off."""
    noted: dict[str, Any] = {}
    journal.seek(0)
    lines = journal.read()
    whole = lines[: lines.rfind(b"\n") + 1]
    try:
        for line in whole.splitlines():
            noted |= json.loads(line)
    except (ValueError, TypeError):
        return {}
    journal.truncate(len(whole))
    return noted


def _unlink(file: FileIO, path: Path) -> None:
    """Remove the file's name, if it still has it, and where that can be done."""
    with suppress(OSError):
        if held.owns(file, path):
            path.unlink()


def _boot() -> str | None:
    """Return what this start of the machine is called; None where it has no name (not Linux)."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return None
