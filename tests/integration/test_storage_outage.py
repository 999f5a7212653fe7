"""A storage that is full, read-only or gone for a while: the download waits, and then goes on."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from models import Export, State
from tests.disks import remount, small_disk
from tests.factories import Clock, make_export, make_kit
from worker.steps import download, poll, submit

DISK_BYTES = 4 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give the disk that the storage is on."""
    with small_disk(tmp_path / "disk", size_bytes=DISK_BYTES) as place:
        (place / "exports").mkdir()
        yield place


@contextmanager
def full(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    assert shutil.disk_usage(disk).free == 0
    yield
    filler.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    remount(disk, "ro")
    yield
    remount(disk, "rw")


@contextmanager
def gone(disk: Path) -> Iterator[None]:
    (disk / "exports").rename(disk / "away")
    (disk / "exports").write_text("something else is there")
    yield
    (disk / "exports").unlink()
    (disk / "away").rename(disk / "exports")


@pytest.mark.parametrize("outage", [full, read_only, gone])
def test_a_storage_that_is_away_is_waited_for_and_the_film_is_not_fetched_again(
    outage: Callable[[Path], AbstractContextManager[None]],
    sessions: sessionmaker[Session],
    tmp_path: Path,
    disk: Path,
    emulator: Emulator,
) -> None:
    clock = Clock()
    kit = make_kit(
        sessions, tmp_path, emulator=emulator, now=clock, storage_url=str(disk / "exports")
    )
    export = make_export(sessions, state=State.REQUESTED, due_at=clock())
    emulator.control.asset(export.asset, run_seconds=0, captions=False)
    submit(kit)
    clock.move(minutes=1)
    poll(kit)

    def reload() -> Export:
        with sessions.begin() as session:
            return session.get_one(Export, export.id)

    with outage(disk):
        for attempt in (1, 2, 3):
            assert download(kit, export.id).facts["error"] == "storage_unavailable"
            assert (reload().state, reload().attempts) == (State.DOWNLOADING, attempt)
            clock.move(minutes=10)
        assert not list(disk.rglob("*.mp4"))
    download(kit, export.id)
    after = reload()
    assert (after.state, after.attempts, after.error_code) == (State.STORED, 0, None)
    assert Path(str(after.storage_url).removeprefix("file://")).stat().st_size == after.size_bytes
    assert [path.suffix for path in disk.rglob("*") if path.is_file()] == [".mp4"]
    assert emulator.control.calls()["calls"]["media"] == 1
    assert list((tmp_path / "scratch").iterdir()) == []
