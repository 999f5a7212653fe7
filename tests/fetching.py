"""Fetching: files of the emulator's, and fetch as a test calls it."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest

from emulator.server import Emulator
from tests.factories import an_asset
from tests.slicers import make_slicer
from worker.errors import ExportError
from worker.transfer.bounds import Bounds
from worker.transfer.fetch import Fetched, fetch, fetch_text
from worker.transfer.guard import Guard
from worker.transfer.manner import Manner
from worker.transfer.parts import open_part
from worker.transfer.session import FileSession
from worker.transfer.stall import Floor

LOCAL = ("127.0.0.1",)
EXPORT = UUID(int=1)
# one stream, and its first break ends it
NO_FLOOR = Floor(0)
SINGLE = Manner(most_streams=1, most_breaks=0, floor=NO_FLOOR)
AMPLE = Bounds(most_bytes=10**12, reserve_bytes=0)


class Told(Exception):  # noqa: N818  (as Stopping is none)
    """What a guard raises in these tests."""


@dataclass
class Watch:
    """A guard that notes each report, and stops the transfer once so many bytes have come.

    `stop` stops it at any time, from another thread.
    """

    stop_at: int | None = None
    reports: list[tuple[int, int | None]] = field(default_factory=list)
    checks: int = 0
    stopped: Event = field(default_factory=Event)
    watching: Event = field(default_factory=Event)
    _interrupt: Callable[[], None] | None = None

    def check(self) -> None:
        self.checks += 1
        if self.stopped.is_set():
            raise Told

    def progress(self, done: int, total: int | None) -> None:
        self.reports.append((done, total))
        if self.stop_at is not None and done >= self.stop_at:
            self.stopped.set()
        self.check()

    @contextmanager
    def watched(self, interrupt: Callable[[], None]) -> Iterator[None]:
        self.check()
        self._interrupt = interrupt
        self.watching.set()
        yield
        self._interrupt = None

    def stop(self) -> None:
        self.stopped.set()
        if self._interrupt:
            self._interrupt()


def path_in(folder: Path, claim: int = 2) -> Path:
    return folder / f"{EXPORT}-{UUID(int=claim)}.part"


def get(
    url: str,
    path: Path,
    guard: Guard | None = None,
    *,
    allowed: Collection[str] = LOCAL,
    session: FileSession | None = None,
    bounds: Bounds = AMPLE,
    manner: Manner = SINGLE,
) -> Fetched:
    """Fetch to the part at `path`; what is told of it must be true of what is there."""
    with (
        session or FileSession(allowed) as opened,
        open_part(path.parent, EXPORT, UUID(path.stem[37:])) as part,
    ):
        fetched = fetch(opened, url, part, guard=guard or Watch(), bounds=bounds, manner=manner)
        content = part.path.read_bytes()
        assert fetched == Fetched(len(content), hashlib.sha256(content).hexdigest())
        return fetched


def failure(url: str, path: Path, **options: Any) -> ExportError:
    with pytest.raises(ExportError) as failed:
        get(url, path, **options)
    return failed.value


def text(
    url: str,
    most_bytes: int = 1000,
    *,
    guard: Guard | None = None,
    session: FileSession | None = None,
    floor: Floor = NO_FLOOR,
) -> bytes:
    with nullcontext(session) if session else FileSession(LOCAL) as opened:
        return fetch_text(opened, url, guard=guard or Watch(), most_bytes=most_bytes, floor=floor)


def a_file(emulator: Emulator, **asset: Any) -> tuple[str, dict[str, Any]]:
    """Have a file made; returns its URL and what is true of it."""
    slicer, asset_id = make_slicer(emulator.url), an_asset()
    emulator.control.asset(asset_id, **asset)
    job = slicer.create_export(asset_id, aaclc=False)
    emulator.control.advance(60)
    url = slicer.get_job(job.id).url
    assert url is not None
    return url, emulator.control.media(job.id)
