"""Part: a file on its way is gone on with by one at a time, and never with the wrong bytes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any
from uuid import UUID, uuid4

import pytest

from emulator.server import Emulator
from tests.fetching import EXPORT, Watch, a_file, get, path_in
from tests.waiting import wait_until
from worker import held
from worker.transfer.journal import journal_of
from worker.transfer.part import NOTE_BYTES, SYNC_BYTES, Origin
from worker.transfer.parts import exports_in, open_part, remove_abandoned

ORIGIN = Origin("http://x/y.mp4", '"1"', 100)


def left(folder: Path, content: bytes = b"half", claim: int = 2) -> Path:
    """Leave a part behind; returns where it is."""
    with open_part(folder, EXPORT, UUID(int=claim)) as part:
        part.begin(ORIGIN)
        part.write(0, content)
    return part.path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_part_is_taken_over_under_a_new_name(tmp_path: Path) -> None:
    first = left(tmp_path)
    inode = first.stat().st_ino
    with open_part(tmp_path, EXPORT, UUID(int=3)) as part:
        assert (part.origin, part.size_bytes) == (ORIGIN, 4)
        assert part.path.stat().st_ino == inode
        part.write(4, b"+rest")
        assert part.path.read_bytes() == b"half+rest"
    stem = f"{EXPORT}-{UUID(int=3)}"
    assert names(tmp_path) == [f"{stem}.journal", f"{stem}.part"]


def test_of_several_the_longest_is_taken_and_the_others_go(tmp_path: Path) -> None:
    with open_part(tmp_path, EXPORT, UUID(int=2)) as part:
        part.begin(ORIGIN)
        part.write(0, b"half")
        left(tmp_path, b"longer", claim=3)
    with open_part(tmp_path, EXPORT, UUID(int=4)) as part:
        assert part.size_bytes == len(b"longer")
        assert len(names(tmp_path)) == 2


def test_one_that_is_written_to_is_left_alone(tmp_path: Path) -> None:
    with open_part(tmp_path, EXPORT, UUID(int=2)) as first:
        first.begin(ORIGIN)
        first.write(0, b"half")
        with open_part(tmp_path, EXPORT, UUID(int=3)) as second:
            assert second.origin is None
            second.begin(ORIGIN)
            second.write(0, b"other")
            first.write(4, b"+more")
            assert exports_in(tmp_path) == {EXPORT}
            remove_abandoned(tmp_path, EXPORT)
            assert second.path.read_bytes() == b"other"
        assert first.path.read_bytes() == b"half+more"


def test_what_belongs_to_nothing_is_not_kept(tmp_path: Path) -> None:
    with open_part(tmp_path / "new/folder", EXPORT, UUID(int=2)) as part:
        part.begin(None)
        part.write(0, b"half")
    assert names(tmp_path / "new/folder") == []


def test_what_is_discarded_is_not_kept(tmp_path: Path) -> None:
    with open_part(tmp_path, EXPORT, UUID(int=2)) as part:
        part.begin(ORIGIN)
        part.discard()
    assert names(tmp_path) == []


def test_a_plain_file_of_an_earlier_release_is_begun_anew(tmp_path: Path) -> None:
    path_in(tmp_path).write_bytes(b"half")
    with open_part(tmp_path, EXPORT, UUID(int=3)) as part:
        assert (part.origin, part.size_bytes) == (None, 0)
    assert names(tmp_path) == []


def reopened(folder: Path) -> tuple[Origin | None, int]:
    with open_part(folder, EXPORT, UUID(int=9)) as part:
        part.discard()
        assert part.path.stat().st_size == part.size_bytes
        return part.origin, part.size_bytes


@pytest.mark.parametrize(
    "text", ["", "\n", "[]\n", "{}\n", "{", '{"url": "x"}\n', "\0" * 99 + "\n", '{"x": 1}\n']
)
def test_a_journal_that_says_nothing_of_use_has_it_begun_anew(text: str, tmp_path: Path) -> None:
    journal_of(left(tmp_path)).write_text(text)
    assert reopened(tmp_path) == (None, 0)


def test_a_torn_last_line_says_nothing_and_spoils_nothing(tmp_path: Path) -> None:
    path = left(tmp_path)
    with journal_of(path).open("a") as journal:
        journal.write('{"synced_by')
    left_again = open_part(tmp_path, EXPORT, UUID(int=3))
    with left_again as part:
        part.write(4, b"x" * SYNC_BYTES)  # notes a line of its own
    assert reopened(tmp_path) == (ORIGIN, 4 + SYNC_BYTES)


def test_after_a_power_cut_only_what_was_synced_is_trusted(tmp_path: Path) -> None:
    with open_part(tmp_path, EXPORT, UUID(int=2)) as part:
        part.begin(ORIGIN)
        part.write(0, b"x" * SYNC_BYTES)
        part.sync()
        part.write(SYNC_BYTES, b"x" * 1000)
    path = part.path
    lines = [json.loads(line) for line in journal_of(path).read_text().splitlines()]
    lines[0]["boot"] = "another"
    journal_of(path).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert reopened(tmp_path) == (ORIGIN, SYNC_BYTES)


def test_after_a_power_cut_nothing_that_was_not_synced_is_trusted(tmp_path: Path) -> None:
    path = left(tmp_path)
    origin, there = map(json.loads, journal_of(path).read_text().splitlines())
    assert there == {"there": [[0, 4]]}
    lines = [{**origin, "boot": None}, there]
    journal_of(path).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert reopened(tmp_path) == (ORIGIN, 0)


def written(path: Path, *lines: dict[str, Any]) -> None:
    journal_of(path).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_what_was_synced_is_there_though_it_was_not_noted_since(tmp_path: Path) -> None:
    path = left(tmp_path, b"x" * 10)
    origin, _ = map(json.loads, journal_of(path).read_text().splitlines())
    written(path, origin, {"there": [[0, 8]]}, {"synced": [[0, 10]]})
    assert reopened(tmp_path) == (ORIGIN, 10)


def test_what_was_cut_off_is_not_synced_any_more(tmp_path: Path) -> None:
    path = left(tmp_path, b"x" * 10)
    origin, _ = map(json.loads, journal_of(path).read_text().splitlines())
    written(path, origin, {"there": [[0, 10]]}, {"synced": [[0, 10]]})
    os.truncate(path, 5)
    with open_part(tmp_path, EXPORT, UUID(int=3)) as part:
        assert part.size_bytes == 5
        part.write(8, b"later")  # behind a hole now
    path = part.path
    lines = [json.loads(line) for line in journal_of(path).read_text().splitlines()]
    written(path, *lines, {"boot": "another"})
    assert reopened(tmp_path) == (ORIGIN, 5)


def test_nothing_is_trusted_of_a_part_that_the_disk_did_not_take(tmp_path: Path) -> None:
    with open_part(tmp_path, EXPORT, UUID(int=2)) as part:
        part.begin(ORIGIN)
        part.write(0, b"half")
        descriptors = Path("/proc/self/fd").iterdir()
        (data,) = [each for each in descriptors if each.exists() and each.samefile(part.path)]
        read_end, write_end = os.pipe()
        os.dup2(write_end, int(data.name))  # a pipe can't be synced
        os.close(write_end)
        with pytest.raises(OSError, match="Invalid argument"):
            part.sync(least_bytes=1)
        assert part.unsynced_bytes == 0, "nobody waits for a disk that failed"
        with pytest.raises(OSError, match="Invalid argument"):
            part.write(4, b"+rest")
        assert journal_of(part.path).read_text() == ""
        os.close(read_end)
    with open_part(tmp_path, EXPORT, UUID(int=3)) as part:
        assert (part.origin, part.size_bytes) == (None, 0)


def test_a_part_that_is_held_in_passing_is_taken_over_all_the_same(tmp_path: Path) -> None:
    path = left(tmp_path)
    for suffix in (".part", ".journal"):
        passing = held.take(path.with_suffix(suffix))
        assert passing is not None
        Timer(0.03, passing.close).start()
        with open_part(tmp_path, EXPORT, uuid4()) as part:
            assert part.size_bytes == 4
        path = part.path


def test_whoever_begins_anew_is_known_as_that(tmp_path: Path) -> None:
    left(tmp_path)
    other = Origin("http://x/z.mp4", '"2"', None)
    with open_part(tmp_path, EXPORT, UUID(int=3)) as part:
        part.begin(other)
        part.write(0, b"x")
    assert reopened(tmp_path) == (other, 1)


def test_the_janitor_is_told_of_what_was_left_and_of_nothing_else(tmp_path: Path) -> None:
    other, alive = uuid4(), uuid4()
    left(tmp_path)
    (tmp_path / f"{other}-{uuid4()}.journal").write_text("{}")
    for name in ("x.part", f"{EXPORT}.part", "readme.txt", f"{'-' * 36}-{uuid4()}.part"):
        (tmp_path / name).write_text("")
    with open_part(tmp_path, alive, uuid4()):
        assert exports_in(tmp_path) == {EXPORT, other, alive}
        remove_abandoned(tmp_path, EXPORT)
        remove_abandoned(tmp_path, other)
        remove_abandoned(tmp_path, alive)
        assert exports_in(tmp_path) == {alive}
        assert len(names(tmp_path)) == 4 + 2
    assert exports_in(tmp_path / "nowhere") == set()


@contextmanager
def fetcher(url: str, path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Fetch in a process of its own."""
    command = [sys.executable, "-m", "tests.fetcher", url, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def reaches(path: Path, size: int) -> None:
    wait_until(lambda: path.exists() and path.stat().st_size >= size, what=f"{size} bytes")


def test_a_killed_process_costs_only_what_it_had_not_brought(
    emulator: Emulator, tmp_path: Path
) -> None:
    url, true = a_file(emulator, media_size_bytes=4_000_000)
    emulator.control.fault("media", "throttle", bytes_per_second=2_000_000, times=1)
    first = path_in(tmp_path)
    with fetcher(url, first) as process:
        reaches(first, 2_000_000)
        process.kill()
        process.wait()
    there = first.stat().st_size
    assert there < true["size_bytes"]
    guard = Watch()
    assert get(url, path_in(tmp_path, 3), guard).sha256 == true["sha256"]
    assert sum(1 for done, _ in guard.reports if done <= there - NOTE_BYTES) == 0
    assert not first.exists()


def test_a_process_that_slept_past_its_claim_changes_nothing_of_its_successors(
    emulator: Emulator, tmp_path: Path
) -> None:
    url, true = a_file(emulator, media_size_bytes=4_000_000)
    emulator.control.fault("media", "throttle", bytes_per_second=2_000_000, times=1)
    first, second = path_in(tmp_path), path_in(tmp_path, 3)
    with fetcher(url, first) as process:
        reaches(first, 500_000)
        process.send_signal(signal.SIGSTOP)
        assert get(url, second).sha256 == true["sha256"]
        seen = second.stat()
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=60)
    assert said == true["sha256"], "it went on, in a file of its own"
    after = second.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (
        seen.st_ino,
        seen.st_mtime_ns,
        seen.st_size,
    )
    assert not first.samefile(second)
    remove_abandoned(tmp_path, EXPORT)
    assert names(tmp_path) == []


def test_of_a_part_that_was_moved_away_nothing_stays(tmp_path: Path) -> None:
    with open_part(tmp_path, EXPORT, UUID(int=2)) as part:
        part.begin(ORIGIN)
        part.write(0, b"film")
        part.path.rename(tmp_path / "film.mp4")
    assert names(tmp_path) == ["film.mp4"]
