"""Download: a worker that is to leave does so at once, and the next goes on where it was."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from models import Export, State
from tests.factories import make_export, make_kit, reload
from tests.waiting import wait_until
from worker.steps import download, poll, submit

Sessions = sessionmaker[Session]

# With a read timeout of 60 s, a test that waits for it fails.
pytestmark = pytest.mark.timeout(30)


def finished(sessions: Sessions, tmp_path: Path, emulator: Emulator) -> Export:
    """Return an export that Uplynk is done with; its download is due."""
    export = make_export(sessions, state=State.REQUESTED)
    emulator.control.asset(export.asset, run_seconds=0, media_size_bytes=3_000_000)
    kit = make_kit(sessions, tmp_path, emulator=emulator)
    submit(kit)
    with sessions.begin() as session:
        session.get_one(Export, export.id).due_at = export.due_at
    poll(kit)
    return reload(sessions, export)


def parts(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "scratch").glob("*.part"))


def asked(emulator: Emulator) -> int:
    return int(emulator.control.calls()["calls"].get("media", 0))


@pytest.mark.parametrize("kind", ["hang", "throttle"])
def test_a_worker_that_is_told_to_stop_leaves_the_rest_to_another(
    kind: str, sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator)
    parameters = {"bytes_per_second": 500_000} if kind == "throttle" else {}
    emulator.control.fault("media", kind, times=1, **parameters)
    told = Event()
    kit = make_kit(sessions, tmp_path, emulator=emulator, stopping=told.is_set)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(download, kit, export.id)
        wait_until(lambda: asked(emulator))
        if kind == "throttle":
            wait_until(lambda: [path for path in parts(tmp_path) if path.stat().st_size])
        told.set()
        assert running.result().facts["state"] == "left for another worker"
    assert (reload(sessions, export).claim, len(parts(tmp_path))) == (None, kind == "throttle")
    after = download(make_kit(sessions, tmp_path, emulator=emulator), export.id)
    assert after.facts["state"] == "stored"
    assert reload(sessions, export).sha256 == emulator.control.media(str(export.job_id))["sha256"]
    assert parts(tmp_path) == []


def test_a_download_whose_claim_is_lost_leaves_a_silent_server(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator)
    emulator.control.fault("media", "hang", times=1)
    kit = make_kit(sessions, tmp_path, emulator=emulator, claim_seconds=2)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(download, kit, export.id)
        wait_until(lambda: asked(emulator))
        with sessions.begin() as session:
            session.get_one(Export, export.id).claim = uuid4()
        assert running.result().facts["state"] == "taken over"
