"""Remains: what there is after a storm, on every side of it; the invariants judge it."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from emulator.captions import ttml
from models import Export, History, Request
from tests.chaos.wishes import MEDIA_SECONDS, Asset, Wish
from tests.chaos.world import Struck

PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Records:
    """What the database says."""

    requests: Mapping[str, Request]
    exports: Sequence[Export]
    history: Mapping[UUID, Sequence[History]]

    @classmethod
    def read(cls, sessions: sessionmaker[Session]) -> "Records":
        """Return what is in the database now."""
        history: dict[UUID, list[History]] = defaultdict(list)
        with sessions.begin() as session:
            for row in session.scalars(select(History).order_by(History.id)):
                history[row.export_id].append(row)
            requests = {each.id: each for each in session.scalars(select(Request)).unique()}
            exports = list(session.scalars(select(Export).order_by(Export.created_at)))
        return cls(requests, exports, history)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is so at Uplynk.

    Attributes:
        jobs: the export jobs ever made.
        media: by the job's id, the `sha256` and the `size_bytes` of its true file.
        struck: when it misbehaved, and how.
    """

    jobs: Sequence[Mapping[str, Any]]
    media: Mapping[str, Mapping[str, Any]]
    struck: Sequence[Struck] = ()


@dataclass(frozen=True, slots=True)
class Leavings:
    """What is left behind once every worker was asked to end.

    Attributes:
        messages: how many, by their key at the broker, while the workers were still there.
        idle: the workers' database sessions while they were still there and had nothing to do.
        connections: those that are left after the workers.
        processes: the command lines of those that are left after the workers.
        stops: seconds that each worker took to end when it was asked to.
        deaths: a sentence for each worker that ended unasked.
        living: how many processes the workers were at the last.
    """

    messages: Mapping[str, int] = field(default_factory=dict)
    idle: Sequence[tuple[str, str]] = ()
    connections: Sequence[tuple[str, str]] = ()
    processes: Sequence[str] = ()
    stops: Mapping[str, float] = field(default_factory=dict)
    deaths: Sequence[str] = ()
    living: int = 0


@dataclass(frozen=True, slots=True)
class Remains:
    """All that the invariants look at.

    Attributes:
        wishes: what was asked for.
        vanished: ids of requests whose message is gone though nothing happened that excuses it.
        records: what the database says.
        truth: what is so at Uplynk.
        told: what the CMS was told, in its order.
        storage: the folder of stored files.
        scratch: the folder of downloads under way.
        leavings: what else is left.
    """

    wishes: Sequence[Wish]
    records: Records
    truth: Truth
    storage: Path
    scratch: Path
    told: Sequence[Mapping[str, Any]] = ()
    vanished: Sequence[str] = ()
    leavings: Leavings = field(default_factory=Leavings)

    def asset(self, asset_id: str) -> Asset | None:
        """Return the asset as the emulator was told to have it, if it was."""
        return next((wish.asset for wish in self.wishes if wish.asset.id == asset_id), None)


def file_of(url: str | None) -> Path | None:
    """Return the path of a stored file by its URL, if there is such a file."""
    path = Path(unquote(urlsplit(url or "").path))
    return path if url and path.is_file() else None


def sha256(path: Path) -> str:
    """Return the hash of a file, lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def files_under(folder: Path) -> list[Path]:
    """Return every file below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def true_captions(asset: Asset) -> bytes | None:
    """Return the captions that Uplynk has for the asset, or None if it has none."""
    return ttml(asset.id, MEDIA_SECONDS).encode() if asset.captions else None
