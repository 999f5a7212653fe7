"""Streams: a large file comes by several connections, whole, whatever becomes of any of them."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest

from emulator.server import Emulator
from tests.fetching import AMPLE, EXPORT, LOCAL, Told, Watch, a_file, failure, get, path_in
from tests.raw_server import Say, raw_server
from tests.waiting import wait_until
from worker.transfer import ask
from worker.transfer.fetch import Fetched, fetch
from worker.transfer.lanes import Lanes
from worker.transfer.manner import Manner
from worker.transfer.part import NOTE_BYTES, SYNC_BYTES, Origin
from worker.transfer.parts import open_part
from worker.transfer.session import FileSession
from worker.transfer.stall import Floor

SIZE = 48_000_000
MANY = Manner(most_streams=8, most_breaks=3, floor=Floor(0, 60))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where the file is to come."""
    return path_in(tmp_path)


def large(emulator: Emulator, size: int = SIZE) -> tuple[str, Fetched]:
    url, true = a_file(emulator, media_size_bytes=size)
    return url, Fetched(true["size_bytes"], true["sha256"])


def slow_first(emulator: Emulator) -> None:
    """Have the first stream wait for its line, so that there are helpers."""
    emulator.control.fault("media", "throttle", bytes_per_second=30_000_000, times=1)


def requests(emulator: Emulator) -> int:
    return int(emulator.control.calls()["calls"].get("media", 0))


def test_a_large_file_comes_by_several_streams_in_no_order(emulator: Emulator, path: Path) -> None:
    url, true = large(emulator)
    emulator.control.fault("media", "throttle", bytes_per_second=8_000_000)
    guard = Watch()
    assert get(url, path, guard, manner=MANY) == true
    assert requests(emulator) >= 4
    assert guard.reports[-1][1] == SIZE
    assert max(done for done, _ in guard.reports) == SIZE


@pytest.mark.parametrize(("read", "connections"), [(3, 1), (2, 2)])
def test_a_connection_whose_share_has_come_is_used_again(read: int, connections: int) -> None:
    part = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nabc"
    with raw_server(Say(part, goes_on=True)) as heard, FileSession(LOCAL) as http:
        for start in (0, 3):
            origin = Origin(heard.url, '"a"', None)
            with closing(ask.span(http, heard.url, origin, start, start + 3)) as reply:
                assert reply.raw.read1(read) == b"abc"[:read]
                is_read = ask.is_read(reply)
            (http.let_go if is_read else http.hang_up)()
    assert heard.connections == connections


def test_a_small_file_comes_by_one(emulator: Emulator, path: Path) -> None:
    url, true = large(emulator, 3_000_000)
    assert get(url, path, manner=MANY) == true
    assert requests(emulator) == 1


def test_one_stream_is_all_that_a_setting_of_one_allows(emulator: Emulator, path: Path) -> None:
    url, true = large(emulator)
    assert get(url, path, manner=replace(MANY, most_streams=1)) == true
    assert requests(emulator) == 1


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("ignore_range", {}),
        ("changed_etag", {}),
        ("status", {"status": 503}),
        ("status", {"status": 429, "retry_after": 30}),
        ("forbidden", {}),
        ("html", {}),
        ("reset_before", {}),
        ("cut", {"bytes": 0}),
        ("short", {"bytes": 1000}),
    ],
)
def test_a_server_that_gives_no_helper_what_it_asks_for_gives_it_all_to_one(
    kind: str, parameters: dict[str, Any], emulator: Emulator, path: Path
) -> None:
    url, true = large(emulator)
    slow_first(emulator)
    emulator.control.fault("media", kind, **parameters)
    assert get(url, path, manner=MANY) == true
    assert requests(emulator) > 1


def test_streams_that_break_are_taken_up_again_on_the_spot(emulator: Emulator, path: Path) -> None:
    url, true = large(emulator)
    emulator.control.fault("media", "cut", bytes=2_000_000, times=12)
    assert get(url, path, manner=MANY) == true
    assert requests(emulator) > 12


def test_a_file_that_never_comes_further_is_given_up_and_kept(
    emulator: Emulator, path: Path
) -> None:
    url, true = large(emulator)
    emulator.control.fault("media", "cut", bytes=2_000_000, times=1)
    emulator.control.fault("media", "cut", bytes=0)
    assert failure(url, path, manner=MANY).code in {"file_broken_off", "file_unreachable"}
    emulator.control.clear_faults()
    guard = Watch()
    assert get(url, path, guard, manner=MANY) == true
    assert guard.reports[0][0] > 1_000_000


def test_a_stream_without_end_and_pace_is_given_up(emulator: Emulator, path: Path) -> None:
    url, _ = large(emulator, 3_000_000)
    emulator.control.fault("media", "throttle", bytes_per_second=20_000)
    slow = replace(MANY, most_breaks=0, floor=Floor(bytes_per_second=100_000, seconds=0.5))
    error = failure(url, path, manner=slow)
    assert error.code == "file_stalled"
    assert "DOWNLOAD_MIN_BYTES_PER_SECOND" in error.message


def test_all_streams_end_when_it_is_to_stop_and_the_next_goes_on(
    emulator: Emulator, path: Path, tmp_path: Path
) -> None:
    url, true = large(emulator)
    emulator.control.fault("media", "throttle", bytes_per_second=8_000_000)
    with pytest.raises(Told):
        get(url, path, Watch(stop_at=SIZE // 2), manner=MANY)
    emulator.control.clear_faults()
    guard = Watch()
    assert get(url, path_in(tmp_path, 3), guard, manner=MANY) == true
    assert guard.reports[0][0] > SIZE // 2


def test_no_more_streams_come_from_a_host_than_it_has_lanes(
    emulator: Emulator, path: Path, tmp_path: Path
) -> None:
    url, true = large(emulator)
    emulator.control.fault("media", "throttle", bytes_per_second=20_000_000)
    lanes = Lanes(tmp_path, 2)
    with lanes.one("127.0.0.1") as first, lanes.one("127.0.0.1") as second:
        assert (first, second) == (True, True)
        with lanes.one("127.0.0.1") as third, lanes.one("elsewhere") as other:
            assert (third, other) == (False, True)
        assert get(url, path, manner=replace(MANY, lanes=lanes)) == true
        assert requests(emulator) == 1
    assert get(url, path_in(tmp_path, 9), manner=replace(MANY, lanes=lanes)) == true
    assert list(tmp_path.glob("*.lane")) == []


def test_nobody_waits_for_a_lane(tmp_path: Path) -> None:
    lanes, all_know = Lanes(tmp_path, 2), Barrier(8, timeout=10)

    def ask(_: int) -> bool:
        with lanes.one("host") as is_free:
            all_know.wait()  # one that waited for another's lane would never come here
            return is_free

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            assert sum(pool.map(ask, range(8))) <= 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(30)  # a read's patience is a minute
def test_nobody_waits_for_helpers_that_have_nothing_left_to_bring(
    emulator: Emulator, path: Path
) -> None:
    url, true = large(emulator)
    slow_first(emulator)
    emulator.control.fault("media", "hang", when="before")
    assert get(url, path, manner=MANY) == true
    assert requests(emulator) > 1


def test_what_a_killed_process_brought_by_several_streams_is_not_brought_again(
    emulator: Emulator, tmp_path: Path
) -> None:
    url, true = large(emulator)
    emulator.control.fault("media", "throttle", bytes_per_second=4_000_000)
    first = path_in(tmp_path)
    command = [sys.executable, "-m", "tests.fetcher", url, str(first), "8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        journal = first.with_suffix(".journal")
        wait_until(
            lambda: journal.exists() and len(journal.read_text().splitlines()) > 20,
            what="some megabytes",
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
    emulator.control.clear_faults()
    guard = Watch()
    assert get(url, path_in(tmp_path, 3), guard, manner=MANY) == true
    assert guard.reports[0][0] > 18 * NOTE_BYTES
    assert not first.exists()


def test_the_line_waits_for_the_disk(emulator: Emulator, path: Path) -> None:
    url, true = large(emulator, 5 * SYNC_BYTES)
    manner = replace(MANY, ahead_bytes=SYNC_BYTES)
    with FileSession(LOCAL) as http, open_part(path.parent, EXPORT, UUID(int=2)) as part:

        class Ahead(Watch):
            most_bytes = 0

            def progress(self, done: int, total: int | None) -> None:
                super().progress(done, total)
                self.most_bytes = max(self.most_bytes, part.unsynced_bytes)

        guard = Ahead()
        assert fetch(http, url, part, guard=guard, bounds=AMPLE, manner=manner) == true
    assert guard.most_bytes <= SYNC_BYTES + manner.most_streams * ask.PIECE_BYTES
