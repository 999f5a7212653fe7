"""Fetch: what is there is gone on with, if it is surely of the same file, and else not."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emulator.server import Emulator
from tests.fetching import SINGLE, Told, Watch, a_file, failure, get, path_in
from tests.raw_server import Say, http, raw_server
from worker.transfer.fetch import Fetched

FILM = bytes(range(256)) * 40
SIZE = len(FILM)
HALF = 5000
WHOLE = Fetched(SIZE, hashlib.sha256(FILM).hexdigest())
OLD = "Mon, 01 Jan 2024 00:00:00 GMT"
NOW = "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where the file is to come."""
    return path_in(tmp_path)


def whole(**headers: str) -> Say:
    return http(body=FILM, **{"Content_Length": str(SIZE), "ETag": '"1"', **headers})


def broken(size: int = HALF, /, **headers: str) -> Say:
    """Return an answer that breaks off after `size` bytes."""
    answer = whole(**headers)
    return Say(answer.head[: size - SIZE])


def rest(start: int = HALF, /, **headers: str) -> Say:
    span = f"bytes {start}-{SIZE - 1}/{SIZE}"
    defaults = {"Content_Length": str(SIZE - start), "ETag": '"1"', "Content_Range": span}
    return http("206 Partial Content", FILM[start:], **{**defaults, **headers})


def asked(request: bytes) -> dict[str, str]:
    lines = request.decode("latin-1").split("\r\n")[1:]
    headers = dict(line.split(": ", 1) for line in lines if line)
    return {name: headers[name] for name in ("Range", "If-Range") if name in headers}


@pytest.mark.parametrize("kind", ["cut", "truncate"])
def test_a_file_that_broke_off_comes_whole_in_two(
    kind: str, emulator: Emulator, path: Path
) -> None:
    url, true = a_file(emulator, media_size_bytes=3_000_000)
    emulator.control.fault("media", kind, bytes=1_000_000, times=1)
    assert failure(url, path).code == "file_broken_off"
    there = path.stat().st_size
    assert 0 < there <= 1_000_000
    guard = Watch()
    assert get(url, path, guard) == Fetched(true["size_bytes"], true["sha256"])
    first, _ = guard.reports[0]
    assert first > there, "what was there did not come again"


def test_only_the_rest_is_asked_for(path: Path) -> None:
    with raw_server(broken(), rest()) as heard:
        failure(f"{heard.url}/x?token=1", path)
        assert get(f"{heard.url}/x?token=2", path) == WHOLE
    assert [asked(request) for request in heard.requests] == [
        {},
        {"Range": f"bytes={HALF}-", "If-Range": '"1"'},
    ]


def test_a_file_that_is_all_there_is_not_asked_for(path: Path) -> None:
    with raw_server(whole()) as heard:
        assert get(heard.url, path) == get(heard.url, path) == WHOLE
    assert len(heard.requests) == 1


def test_a_file_that_was_stopped_is_gone_on_with_by_the_next(
    emulator: Emulator, path: Path, tmp_path: Path
) -> None:
    url, true = a_file(emulator, media_size_bytes=3_000_000)
    emulator.control.fault("media", "throttle", bytes_per_second=3_000_000, times=1)
    with pytest.raises(Told):
        get(url, path, Watch(stop_at=500_000))
    there, guard = path.stat().st_size, Watch()
    assert get(url, path_in(tmp_path, 3), guard) == Fetched(true["size_bytes"], true["sha256"])
    assert guard.reports[0][0] > there >= 500_000
    assert not path.exists()


def test_a_last_modified_will_do_if_it_is_old(path: Path) -> None:
    times = {"ETag": "", "Last_Modified": OLD, "Date": NOW}
    with raw_server(broken(**times), rest(**times)) as heard:
        failure(heard.url, path)
        assert get(heard.url, path) == WHOLE
    assert asked(heard.requests[1]) == {"Range": f"bytes={HALF}-", "If-Range": OLD}


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": ""},
        {"ETag": 'W/"1"'},
        {"ETag": "1"},
        {"ETag": "", "Last_Modified": OLD},
        {"ETag": "", "Last_Modified": NOW, "Date": NOW},
        {"ETag": "", "Last_Modified": "yesterday", "Date": NOW},
        {"ETag": "", "Last_Modified": OLD, "Date": NOW.replace("GMT", "-0000")},
        {"Content_Encoding": "gzip"},
    ],
)
def test_what_cannot_be_told_apart_is_begun_anew_and_takes_no_room(
    headers: dict[str, str], path: Path
) -> None:
    with raw_server(broken(**headers), whole()) as heard:
        failure(heard.url, path)
        assert list(path.parent.iterdir()) == []
        assert get(heard.url, path) == WHOLE
    assert asked(heard.requests[1]) == {}


@pytest.mark.parametrize("kind", ["ignore_range", "changed_etag"])
def test_a_200_to_a_range_is_all_of_the_file(kind: str, emulator: Emulator, path: Path) -> None:
    url, true = a_file(emulator, media_size_bytes=3_000_000)
    emulator.control.fault("media", "cut", bytes=1_000_000, times=1)
    failure(url, path)
    emulator.control.fault("media", kind)
    assert get(url, path) == Fetched(true["size_bytes"], true["sha256"])


def test_a_file_that_is_shorter_by_now_is_no_longer_than_it_is(path: Path) -> None:
    short = http(body=b"film", Content_Length="4", ETag='"2"')
    with raw_server(broken(), short) as heard:
        failure(heard.url, path)
        assert get(heard.url, path).size_bytes == 4


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"2"'},
        {"Content_Range": f"bytes {HALF - 1}-{SIZE - 1}/{SIZE}"},
        {"Content_Range": f"bytes {HALF}-{SIZE}/{SIZE + 1}"},
        {"Content_Range": f"bytes {HALF}-{SIZE - 1}/*"},
        {"Content_Range": f"bytes */{SIZE}"},
        {"Content_Range": f"bytes {'9' * 5000}-{SIZE}/{SIZE}"},
        {"Content_Range": ""},
        {"Content_Encoding": "gzip"},
        {"Content_Type": "multipart/byteranges; boundary=x", "Content_Range": ""},
    ],
)
def test_a_206_that_does_not_fit_is_begun_anew(headers: dict[str, str], path: Path) -> None:
    with raw_server(broken(), rest(**headers), whole()) as heard:
        failure(heard.url, path)
        assert get(heard.url, path) == WHOLE
    assert asked(heard.requests[2]) == {}


def test_a_206_that_brings_less_than_the_rest_is_a_step_on(path: Path) -> None:
    some = http(
        "206 Partial Content",
        FILM[HALF:9000],
        Content_Range=f"bytes {HALF}-8999/{SIZE}",
        Content_Length=str(9000 - HALF),
    )
    with raw_server(broken(), some, rest(9000)) as heard:
        failure(heard.url, path)
        error = failure(heard.url, path)
        assert str(error) == f"file_broken_off: 9000 bytes came of {SIZE} that were declared"
        assert get(heard.url, path) == WHOLE


def test_a_206_that_nobody_asked_for_is_refused(path: Path) -> None:
    with raw_server(rest()) as heard:
        assert failure(heard.url, path).code == "file_unavailable"


def chunked(body: bytes, end: bytes = b"") -> Say:
    head = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nTransfer-Encoding: chunked\r\n\r\n'
    return Say(head + b"%x\r\n%b\r\n" % (len(body), body) + end)


def beyond(total: Any, body: bytes = b"") -> Say:
    return http("416 No", body, Content_Range=f"bytes */{total}", Content_Length=str(len(body)))


def test_a_416_at_the_end_says_that_all_is_there(path: Path) -> None:
    with raw_server(chunked(FILM), beyond(SIZE, b"no film")) as heard:
        assert failure(heard.url, path).code == "file_broken_off", "its last chunk is missing"
        assert get(heard.url, path) == WHOLE


@pytest.mark.parametrize("total", [SIZE - 1, SIZE + 1, "*", "many"])
def test_any_other_416_has_it_begun_anew(total: Any, path: Path) -> None:
    with raw_server(chunked(FILM), beyond(total), whole()) as heard:
        failure(heard.url, path)
        assert get(heard.url, path) == WHOLE


@pytest.mark.parametrize("status", ["403 No", "404 No", "500 No"])
def test_an_error_costs_nothing_of_what_is_there(status: str, path: Path) -> None:
    with raw_server(broken(), http(status), rest()) as heard:
        failure(heard.url, path)
        assert failure(heard.url, path).code == "file_unavailable"
        assert get(heard.url, path) == WHOLE


@pytest.mark.parametrize("answer", [rest(), whole(ETag='"2"')])
def test_the_same_file_at_another_url_is_gone_on_with_if_that_is_proven(
    answer: Say, path: Path
) -> None:
    with raw_server(broken(), answer) as heard:
        failure(f"{heard.url}/a", path)
        assert get(f"{heard.url}/b", path) == WHOLE
    assert asked(heard.requests[1]) == {"Range": f"bytes={HALF}-", "If-Range": '"1"'}


def test_a_file_of_unknown_length_is_not_gone_on_with_at_another_url(path: Path) -> None:
    with raw_server(chunked(FILM), whole()) as heard:
        failure(f"{heard.url}/a", path)
        assert get(f"{heard.url}/b", path) == WHOLE
    assert asked(heard.requests[1]) == {}


def test_the_range_goes_with_each_redirect(path: Path) -> None:
    moved = http("302 Found", Location="/y", Content_Length="0")
    with raw_server(moved, broken(), moved, rest()) as heard:
        failure(heard.url, path)
        assert get(heard.url, path) == WHOLE
    assert asked(heard.requests[3]) == {"Range": f"bytes={HALF}-", "If-Range": '"1"'}


def test_a_range_that_is_cut_short_is_not_the_end_of_a_file_of_unknown_length(path: Path) -> None:
    some = http(
        "206 Partial Content",
        FILM[HALF:9000],
        Content_Range=f"bytes {HALF}-8999/{SIZE}",
        Content_Length=str(9000 - HALF),
        ETag='"1"',
    )
    with raw_server(chunked(FILM[:HALF]), some, rest(9000)) as heard:
        assert get(heard.url, path, manner=replace(SINGLE, most_breaks=3)) == WHOLE
