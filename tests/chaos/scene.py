"""Scene: a small world after a storm that went well, for a test to spoil."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from models import Captions, Export, History, Request, State, outbox
from tests.chaos.remains import Leavings, Records, Remains, Truth, true_captions
from tests.chaos.wishes import Asset, Fate, Wish
from tests.chaos.world import Struck
from tests.factories import make_export

CONTENT = b"a film, as far as an invariant can tell"
WAY = (State.REQUESTED, State.SUBMITTING, State.EXPORTING, State.DOWNLOADING, State.STORED)


@dataclass
class Scene:
    """One wish that ended well and one for an asset that is missing, and all that goes with them.

    Attributes:
        stored: the export that ended well; it has captions.
        failed: the other.
    """

    sessions: sessionmaker[Session]
    folder: Path
    wishes: list[Wish] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    media: dict[str, dict[str, Any]] = field(default_factory=dict)
    struck: list[Struck] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    leavings: Leavings = field(default_factory=Leavings)

    def __post_init__(self) -> None:
        for name in ("exports", "scratch"):
            (self.folder / name).mkdir()
        self.stored = self._a_stored_one()
        self.failed = self._ended(
            Fate.MISSING,
            (*WAY[:2], State.FAILED),
            error_code="uplynk_not_found",
            error_message="there is no such asset",
        )
        with self.sessions.begin() as session:
            for request in session.scalars(select(Request)).unique():
                request.webhook_url = "http://127.0.0.1/"
                [event] = outbox.messages(request, at=datetime.now(UTC))
                self.told.append(event.payload)

    @property
    def film(self) -> Path:
        """Where the stored file is."""
        return self.folder / "exports" / f"{self.stored.id}.mp4"

    def change(self, export: Export, **members: Any) -> None:
        """Change an export's row."""
        with self.sessions.begin() as session:
            session.execute(update(Export).where(Export.id == export.id).values(**members))

    def leave(self, **members: Any) -> None:
        """Leave this behind."""
        self.leavings = replace(self.leavings, **members)

    def remains(self) -> Remains:
        """Return what there is now."""
        return Remains(
            wishes=self.wishes,
            records=Records.read(self.sessions),
            truth=Truth(self.jobs, self.media, self.struck),
            told=self.told,
            storage=self.folder / "exports",
            scratch=self.folder / "scratch",
            vanished=self.vanished,
            leavings=self.leavings,
        )

    def _a_stored_one(self) -> Export:
        job_id, sha256 = uuid4().hex, hashlib.sha256(CONTENT).hexdigest()
        export = self._ended(
            Fate.WHOLE,
            WAY,
            job_id=job_id,
            sha256=sha256,
            size_bytes=len(CONTENT),
            captions=Captions.PRESENT,
        )
        film = self.folder / "exports" / f"{export.id}.mp4"
        film.write_bytes(CONTENT)
        film.with_suffix(".ttml").write_bytes(true_captions(self.wishes[-1].asset) or b"")
        self.change(
            export,
            storage_url=film.as_uri(),
            captions_url=film.with_suffix(".ttml").as_uri(),
        )
        self.jobs.append({"id": job_id, "asset": export.asset, "args": {"export_mp4": True}})
        self.media[job_id] = {"sha256": sha256, "size_bytes": len(CONTENT)}
        return export

    def _ended(self, fate: Fate, way: Sequence[State], **members: Any) -> Export:
        """Return an export that has come this way, with its request."""
        asset = Asset(uuid4().hex, fate, captions=True, run_seconds=1.0, media_size_bytes=None)
        wish = Wish(str(uuid4()), asset, aaclc=False, priority=0, at=0.0, again_at=None)
        self.wishes.append(wish)
        export = make_export(self.sessions, state=way[-1], asset=asset.id, due_at=None, **members)
        begin = datetime.now(UTC) - timedelta(minutes=1)
        with self.sessions.begin() as session:
            session.add(Request(id=wish.request_id, export_id=export.id, created_at=begin))
            for number, (before, after) in enumerate(zip((None, *way), way, strict=False)):
                at = begin + timedelta(seconds=number)
                session.add(
                    History(
                        export_id=export.id, at=at, from_state=before, to_state=after, reason="…"
                    )
                )
                session.flush()
        return export
