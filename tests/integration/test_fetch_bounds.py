"""Fetch: no file is larger than is allowed, and none fills the disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import small_disk
from tests.fetching import failure, get, path_in
from tests.raw_server import Say, http, raw_server
from worker.errors import Permanent, Transient
from worker.transfer.bounds import Bounds

FILM = b"film" * 250_000
SIZE = len(FILM)
GIB = 1 << 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where the file is to come."""
    return path_in(tmp_path)


def whole(**headers: str) -> Say:
    return http(body=FILM, **{"Content_Length": str(SIZE), "ETag": '"1"', **headers})


def bounds(most: int = 10**12, reserve: int = GIB, free: int = 10**12) -> Bounds:
    return Bounds(most, reserve, lambda _: free)


def test_a_file_of_the_largest_size_is_taken(path: Path) -> None:
    with raw_server(whole()) as heard:
        assert get(heard.url, path, bounds=bounds(most=SIZE)).size_bytes == SIZE


def test_a_file_that_declares_more_is_refused_before_a_byte_is_read(path: Path) -> None:
    with raw_server(Say(whole().head[:-SIZE], hold=True)) as heard:
        error = failure(heard.url, path, bounds=bounds(most=SIZE - 1))
    assert (type(error), error.code) == (Permanent, "file_too_large")
    assert error.message == (f"the file has {SIZE} bytes or more; MAX_FILE_BYTES is {SIZE - 1}")
    assert list(path.parent.iterdir()) == []


def test_a_file_that_declares_nothing_is_refused_when_it_has_more(path: Path) -> None:
    endless = Say(b'HTTP/1.1 200 OK\r\nETag: "1"\r\n\r\n' + 2 * FILM, hold=True)
    with raw_server(endless) as heard:
        error = failure(heard.url, path, bounds=bounds(most=SIZE - 1))
    assert (type(error), error.code) == (Permanent, "file_too_large")
    assert list(path.parent.iterdir()) == []


def test_a_file_that_was_begun_is_refused_as_well(path: Path) -> None:
    span = f"bytes 4-{SIZE}/{SIZE + 1}"
    with raw_server(
        Say(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfilm\r\n'),
        http("206 P", b"x", Content_Range=span, ETag='"1"'),
    ) as heard:
        failure(heard.url, path)
        assert failure(heard.url, path, bounds=bounds(most=SIZE)).code == "file_too_large"
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("free", "fits"), [(SIZE + GIB, True), (SIZE + GIB - 1, False)])
def test_there_must_be_room_for_what_is_declared_and_the_reserve(
    free: int, *, fits: bool, path: Path
) -> None:
    with raw_server(whole()) as heard:
        if fits:
            get(heard.url, path, bounds=bounds(free=free))
            return
        error = failure(heard.url, path, bounds=bounds(free=free))
    assert (type(error), error.code) == (Transient, "scratch_full")
    assert error.message == (
        f"SCRATCH_DIR has {free} bytes free, and {SIZE} are to come, with {GIB} to be left"
        " (SCRATCH_RESERVE_BYTES); make room there"
    )
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("free", "fits"), [(GIB, True), (GIB - 1, False)])
def test_where_nothing_is_declared_the_reserve_must_be_free(
    free: int, *, fits: bool, path: Path
) -> None:
    with raw_server(http(body=FILM)) as heard:
        if fits:
            get(heard.url, path, bounds=bounds(free=free))
            return
        assert failure(heard.url, path, bounds=bounds(free=free)).code == "scratch_full"


def test_only_what_is_still_to_come_needs_room(path: Path) -> None:
    half = SIZE // 2
    rest = http("206 P", FILM[half:], Content_Range=f"bytes {half}-{SIZE - 1}/{SIZE}", ETag='"1"')
    with raw_server(Say(whole().head[:-half]), rest) as heard:
        failure(heard.url, path)
        assert get(heard.url, path, bounds=bounds(free=half + GIB)).size_bytes == SIZE


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk with room for half of the film."""
    with small_disk(tmp_path / "disk", size_bytes=SIZE // 2) as place:
        yield place


@pytest.mark.parametrize("etag", ['"1"', ""])
def test_a_disk_that_gets_full_is_told_and_emptied(disk: Path, etag: str) -> None:
    with raw_server(whole(ETag=etag)) as heard:
        error = failure(heard.url, path_in(disk), bounds=bounds())
    assert (type(error), error.code) == (Transient, "scratch_full")
    assert error.message.startswith("SCRATCH_DIR was full after ")
    assert list(disk.iterdir()) == []


def test_a_disk_without_room_is_seen_before_it_is_full(disk: Path) -> None:
    with raw_server(whole()) as heard:
        error = failure(heard.url, path_in(disk), bounds=Bounds(10**12, 0))
    assert f"and {SIZE} are to come" in error.message
