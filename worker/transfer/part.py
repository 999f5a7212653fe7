"""Part: a file that is on its way, and what its bytes are bytes of.

Beside `{export_id}-{claim}.part` lies a journal, `{export_id}-{claim}.journal`: lines of JSON, only
ever added to. They say what the bytes belong to, and how many of them are on the disk for sure. A
part without a readable journal is worth nothing, so whatever gets lost, nothing wrong is gone on
with: the journal is emptied before the part is, and says more only after the part holds it.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any
from uuid import UUID

from worker import held

READ_BYTES = 1 << 20
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

    Attributes:
        path: where it is.
        size_bytes: how long it is.
        origin: what its bytes belong to; None if that is not known, and it can't be gone on with.
    """

    def __init__(self, path: Path, data: FileIO, journal: FileIO) -> None:
        self.path = path
        self.size_bytes = os.fstat(data.fileno()).st_size
        self.origin: Origin | None = None
        self._data = data
        self._journal = journal
        self._synced_bytes = 0
        self._is_wanted = True
        self._recall()

    def begin(self, origin: Origin | None) -> None:
        """Forget all bytes; those that follow belong to `origin`."""
        self.origin = None
        self._journal.truncate(0)
        self._journal.seek(0)
        os.fsync(self._journal.fileno())
        self._data.truncate(0)
        self._data.seek(0)
        self.size_bytes = self._synced_bytes = 0
        if origin is not None:
            self._note({**asdict(origin), "boot": _boot()})
            self.origin = origin

    def write(self, piece: bytes) -> None:
        """Add `piece`."""
        view = memoryview(piece)
        while view:  # unbuffered, so it may take less; on a full disk it does
            view = view[self._data.write(view) :]
        self.size_bytes += len(piece)
        if self.origin is not None and self.size_bytes - self._synced_bytes >= SYNC_BYTES:
            self._sync()

    def digest(self, check: Callable[[], None]) -> "hashlib._Hash":
        """Return the SHA-256 of all bytes so far, calling `check` between pieces."""
        digest = hashlib.sha256()
        self._data.seek(0)
        while piece := self._data.read(READ_BYTES):
            check()
            digest.update(piece)
        return digest

    def discard(self) -> None:
        """Have it removed when it is closed: nobody is to go on with it."""
        self._is_wanted = False

    def close(self) -> None:
        """Let go of it; it stays for the next one, if there is something to go on with."""
        if not self._is_wanted or self.origin is None:
            _unlink(self._data, self.path)
            _unlink(self._journal, _journal_of(self.path))
        self._journal.close()
        self._data.close()

    def _recall(self) -> None:
        """Learn from the journal what is there, and cut off what may never have reached the disk.

        Since the machine last started, the system's memory has all that was written, by whomever.
        """
        noted = _read(self._journal)
        synced = noted.pop("synced_bytes", 0)
        boot = noted.pop("boot", None)
        try:
            origin = Origin(**noted)
        except TypeError:  # no journal, or one of another kind
            self.begin(None)
            return
        if boot is None or boot != _boot():
            self.size_bytes = min(self.size_bytes, synced)
            self._data.truncate(self.size_bytes)
            self._note({"boot": _boot()})
        self._synced_bytes = min(self.size_bytes, synced)
        self._data.seek(self.size_bytes)
        self.origin = origin

    def _sync(self) -> None:
        os.fsync(self._data.fileno())
        self._note({"synced_bytes": self.size_bytes})
        self._synced_bytes = self.size_bytes

    def _note(self, members: dict[str, Any]) -> None:
        self._journal.seek(0, os.SEEK_END)
        self._journal.write(f"{json.dumps(members)}\n".encode())
        os.fsync(self._journal.fileno())


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
