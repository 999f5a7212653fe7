"""Audit: what is in storage is read again, and compared with what is on record."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from models import Export, State
from worker import records, storage
from worker.errors import Transient
from worker.settings import ClientSettings

# So many rows are read at once, in a transaction that is over before a file is read.
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored export as it is on record."""

    export_id: UUID
    url: str
    size_bytes: int
    sha256: str


def stored(settings: ClientSettings, names: Sequence[str]) -> Iterator[Stored]:
    """Give the exports that are stored: those of these requests or exports, or without names all.

    Raises:
        LookupError: there is no such request or export, or it is not stored.
    """
    if not names:
        yield from _all(settings)
    for name in names:
        with records.reading(settings) as session:
            request = records.found(session, name)
            export = request.export if request else None
            if export is None or export.state is not State.STORED:
                raise LookupError(f"{name} is no request or export that is stored")
            found = _of(export)
        yield found


def _all(settings: ClientSettings) -> Iterator[Stored]:
    last: UUID | None = None
    while True:
        query = select(Export).where(Export.state == State.STORED).order_by(Export.id)
        if last is not None:
            query = query.where(Export.id > last)
        with records.reading(settings) as session:
            page = [_of(export) for export in session.scalars(query.limit(ROWS_AT_ONCE))]
        if not page:
            return
        yield from page
        last = page[-1].export_id


def _of(export: Export) -> Stored:
    return Stored(export.id, str(export.storage_url), export.size_bytes or 0, str(export.sha256))


def differs(record: Stored) -> str:
    """Return how the file in storage differs from the record, in words; nothing if it does not."""
    digest, size = hashlib.sha256(), 0
    try:
        for piece in storage.read(record.url):
            digest.update(piece)
            size += len(piece)
    except FileNotFoundError:
        return "it is not there"
    except Transient as error:
        return error.message
    if size != record.size_bytes:
        return f"it has {size} bytes, and {record.size_bytes} were stored"
    if digest.hexdigest() != record.sha256:
        return f"its SHA-256 is {digest.hexdigest()}, and {record.sha256} was stored"
    return ""
