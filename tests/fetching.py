"""Fetching: files of the emulator's, and fetch as a test calls it."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from emulator.server import Emulator
from tests.factories import an_asset
from tests.slicers import make_slicer
from worker.errors import ClaimLost, ExportError
from worker.transfer.fetch import Fetched, fetch, fetch_text

LOCAL = ("127.0.0.1",)


@dataclass
class Progress:
    """Notes each report, and raises once so many bytes have come."""

    stop_at: int | None = None
    reports: list[tuple[int, int | None]] = field(default_factory=list)

    def __call__(self, done: int, total: int | None) -> None:
        self.reports.append((done, total))
        if self.stop_at is not None and done >= self.stop_at:
            raise ClaimLost


def get(
    url: str,
    path: Path,
    progress: Progress | None = None,
    *,
    allowed: Collection[str] = LOCAL,
    session: requests.Session | None = None,
) -> Fetched:
    with session or requests.Session() as opened:
        return fetch(opened, url, path, allowed=allowed, progress=progress or Progress())


def failure(url: str, path: Path, **options: Any) -> ExportError:
    with pytest.raises(ExportError) as failed:
        get(url, path, **options)
    return failed.value


def text(url: str, most_bytes: int = 1000) -> bytes:
    with requests.Session() as session:
        return fetch_text(session, url, allowed=LOCAL, most_bytes=most_bytes)


def a_file(emulator: Emulator, **asset: Any) -> tuple[str, dict[str, Any]]:
    """Have a file made; returns its URL and what is true of it."""
    slicer, asset_id = make_slicer(emulator.url), an_asset()
    emulator.control.asset(asset_id, **asset)
    job = slicer.create_export(asset_id, aaclc=False)
    emulator.control.advance(60)
    url = slicer.get_job(job.id).url
    assert url is not None
    return url, emulator.control.media(job.id)
