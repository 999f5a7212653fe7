"""Parts: the folder of what is on its way, whose writers come and go.

A part bears the export's id and the claim under which it is brought. One that somebody left is
taken over under a new name; one that somebody writes to is not touched.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from uuid import UUID

from worker import held
from worker.transfer.journal import Journal, journal_of
from worker.transfer.part import Part

TAKE_TRIES, TAKE_PAUSE_SECONDS = 5, 0.02

_NAME = re.compile(r"([0-9a-f-]{36})-[0-9a-f-]{36}\.(?:part|journal)")


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


def exports_in(folder: Path) -> set[UUID]:
    """Return the exports of which `folder` has parts, whoever writes to them.

    By their names: to lock one only to see whether it is free keeps it from who is to take it over.

    Raises:
        OSError: the folder can't be read.
    """
    found = set()
    for path in folder.glob("*"):
        if match := _NAME.fullmatch(path.name):
            with suppress(ValueError):
                found.add(UUID(match[1]))
    return found


def remove_abandoned(folder: Path, export_id: UUID) -> None:
    """Remove what `folder` has of this export, but for a part that somebody writes to.

    Raises:
        OSError: the folder can't be written to.
    """
    found = _of(folder, export_id)
    for path in (each for each in found if each.suffix == ".part"):
        if file := held.take(path):
            with file:
                held.unlink(file, path)
                journal_of(path).unlink(missing_ok=True)
    for path in (each for each in found if each.suffix == ".journal"):
        if not path.with_suffix(".part").exists() and (file := held.take(path)):
            with file:
                held.unlink(file, path)


def _of(folder: Path, export_id: UUID) -> list[Path]:
    """Return what `folder` has of this export; a glob would compile a pattern for each."""
    beginning = f"{export_id}-"
    return [path for path in folder.iterdir() if path.name.startswith(beginning)]


def _taken_over(folder: Path, export_id: UUID, path: Path) -> Part | None:
    """Return the longest part that was left and can be gone on with, under its new name."""
    lefts = [each for each in _of(folder, export_id) if each.suffix == ".part"]
    found = [part for left in lefts if (part := _opened(left))]
    found.sort(key=lambda part: part.size_bytes, reverse=True)
    for part in found[1:]:
        part.discard()
        part.close()
    for part in found[:1]:
        journal_of(part.path).rename(journal_of(path))  # killed in between, it is begun anew
        part.path = part.path.rename(path)
        return part
    return None


def _opened(path: Path) -> Part | None:
    """Return the part at `path`, or None if somebody holds it, and not just in passing."""
    if (data := _taken(path)) is None:
        return None
    journal = _taken(journal_of(path))
    if journal is None:
        try:
            journal = held.make(journal_of(path))
        except FileExistsError:  # somebody holds that: then the part is worth nothing to us
            data.close()
            return None
    return Part(path, data, Journal(journal))


def _taken(path: Path) -> FileIO | None:
    """Return the file, ours; who holds it in passing, as it dies say, is waited for a moment."""
    for _ in range(TAKE_TRIES):
        if (file := held.take(path)) is not None or not path.exists():
            return file
        time.sleep(TAKE_PAUSE_SECONDS)
    return None


def _made(path: Path) -> Part:
    data = held.make(path)
    return Part(path, data, Journal(held.make(journal_of(path)), is_new=True))
