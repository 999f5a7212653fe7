"""Fetch: a file over real HTTP, whole or not at all, whatever the server does."""

import gzip
import hashlib
import tracemalloc
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from emulator.server import Emulator
from tests.fetching import AMPLE, EXPORT, LOCAL, SINGLE, Told, Watch, a_file, failure, get, path_in
from tests.raw_server import Say, http, raw_server
from tests.services import free_port
from worker.errors import Transient
from worker.transfer.ask import PIECE_BYTES
from worker.transfer.fetch import Fetched, UrlGone, fetch
from worker.transfer.parts import open_part
from worker.transfer.session import FileSession


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where the file is to come."""
    return path_in(tmp_path)


def test_a_file_comes_whole_with_its_size_and_hash(emulator: Emulator, path: Path) -> None:
    url, true = a_file(emulator)
    assert get(url, path) == Fetched(true["size_bytes"], true["sha256"])
    assert path.stat().st_size == true["size_bytes"]


def test_a_large_file_needs_little_memory_and_tells_its_progress(
    emulator: Emulator, path: Path
) -> None:
    size, guard = 60_000_000, Watch()
    url, true = a_file(emulator, media_size_bytes=size)
    tracemalloc.start()
    try:
        with FileSession(LOCAL) as session, open_part(path.parent, EXPORT, EXPORT) as part:
            fetched = fetch(session, url, part, guard=guard, bounds=AMPLE, manner=SINGLE)
        assert fetched == Fetched(size, true["sha256"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 4
    done = [done for done, _ in guard.reports]
    assert done == sorted(set(done))
    assert done[-1] == size
    assert {total for _, total in guard.reports} == {size}
    assert len(done) >= size // PIECE_BYTES


def test_what_was_there_before_is_replaced(emulator: Emulator, path: Path) -> None:
    url, true = a_file(emulator)
    path.write_bytes(b"x" * (true["size_bytes"] + 99))
    get(url, path)
    assert path.stat().st_size == true["size_bytes"]


@pytest.mark.parametrize("kind", ["truncate", "cut"])
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_a_file_that_breaks_off_is_not_taken(
    kind: str, count: int, emulator: Emulator, path: Path
) -> None:
    url, _ = a_file(emulator)
    emulator.control.fault("media", kind, bytes=count)
    error = failure(url, path)
    assert (type(error), error.code) == (Transient, "file_broken_off")


def test_a_file_that_was_cut_off_at_its_origin_comes_as_it_is(
    emulator: Emulator, path: Path
) -> None:
    url, _ = a_file(emulator)
    emulator.control.fault("media", "short", bytes=5000)
    assert get(url, path).size_bytes == 5000  # that it is no whole MP4 is for verify to see


def test_a_slow_file_stops_when_the_claim_is_lost(emulator: Emulator, path: Path) -> None:
    url, _ = a_file(emulator, media_size_bytes=2_000_000)
    emulator.control.fault("media", "throttle", bytes_per_second=3_000_000)
    guard = Watch(stop_at=1)
    with pytest.raises(Told):
        get(url, path, guard)
    assert len(guard.reports) == 1
    assert path.stat().st_size < 2_000_000


def test_without_a_length_the_whole_is_not_known(emulator: Emulator, path: Path) -> None:
    url, true = a_file(emulator)
    emulator.control.fault("media", "no_length")
    guard = Watch()
    assert get(url, path, guard) == Fetched(true["size_bytes"], true["sha256"])
    assert {total for _, total in guard.reports} == {None}


def test_without_a_length_a_reset_is_still_seen(path: Path) -> None:
    chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    for answer in (Say(chunk), Say(chunk, reset=True), Say(chunk + b"zz\r\n")):
        with raw_server(answer) as heard:
            assert failure(heard.url, path).code == "file_broken_off"


@pytest.mark.parametrize(
    ("kind", "parameters", "code"),
    [
        ("not_found", {}, "file_unavailable"),
        ("forbidden", {}, "file_unavailable"),
        ("status", {"status": 410}, "file_unavailable"),
    ],
)
def test_a_url_that_ran_out_is_gone(
    kind: str, parameters: dict[str, Any], code: str, emulator: Emulator, path: Path
) -> None:
    url, _ = a_file(emulator)
    emulator.control.fault("media", kind, **parameters)
    error = failure(url, path)
    assert isinstance(error, UrlGone)
    assert error.code == code
    assert error.is_not_found is (kind == "not_found")
    assert not path.exists()


@pytest.mark.parametrize("status", [201, 206, 300, 400, 401, 416, 429, 500, 503])
def test_any_other_status_is_transient(status: int, emulator: Emulator, path: Path) -> None:
    url, _ = a_file(emulator)
    emulator.control.fault("media", "status", status=status)
    error = failure(url, path)
    assert type(error) is Transient
    assert str(error) == f"file_unavailable: the file's URL answered with HTTP {status}"
    assert not path.exists()


def test_a_reset_before_the_answer_is_transient(emulator: Emulator, path: Path) -> None:
    url, _ = a_file(emulator)
    emulator.control.fault("media", "reset_before")
    assert str(failure(url, path)).startswith("file_unreachable: no answer from the file's host")


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", Transient),
        ("nowhere.invalid", UrlGone),  # the job may have another URL by now
        ("a" * 64, UrlGone),
        ("a..b", UrlGone),
    ],
)
def test_a_host_that_does_not_answer_is_transient(
    host: str, kind: type[Transient], path: Path
) -> None:
    error = failure(f"http://{host}:{free_port()}/x.mp4", path, allowed=(host,))
    assert (type(error), error.code) == (kind, "file_unreachable")


def test_an_empty_body_is_an_empty_file(emulator: Emulator, path: Path) -> None:
    url, _ = a_file(emulator)
    emulator.control.fault("media", "empty")
    assert get(url, path) == Fetched(0, hashlib.sha256().hexdigest())


def test_no_encoding_is_asked_for(path: Path) -> None:
    with raw_server(http(body=b"film")) as heard:
        get(heard.url, path)
    assert b"Accept-Encoding: identity" in heard.requests[0]


def test_an_encoding_that_nobody_asked_for_is_undone(path: Path) -> None:
    film = b"film" * 1000
    packed, guard = gzip.compress(film), Watch()
    answer = http(body=packed, Content_Encoding="gzip", Content_Length=str(len(packed)))
    with raw_server(answer) as heard:
        fetched = get(heard.url, path, guard)
    assert fetched == Fetched(len(film), hashlib.sha256(film).hexdigest())
    assert {total for _, total in guard.reports} == {None}


def test_an_encoding_that_is_none_is_transient(path: Path) -> None:
    with raw_server(http(body=b"film", Content_Encoding="gzip", Content_Length="4")) as heard:
        assert failure(heard.url, path).code == "file_broken_off"


@pytest.mark.parametrize("length", ["many", "-1", "\u00b2", "4, 4", ""])
def test_a_length_that_is_no_number_is_not_believed(length: str, path: Path) -> None:
    with raw_server(http(body=b"film", Content_Length=length)) as heard:
        assert get(heard.url, path).size_bytes == 4


@pytest.mark.parametrize("digits", [19, 5000])
def test_a_length_beyond_all_bounds_is_not_told(digits: int, path: Path) -> None:
    guard = Watch()
    with raw_server(http(body=b"film", Content_Length="9" * digits)) as heard, suppress(Transient):
        get(heard.url, path, guard)
    assert guard.reports == [(4, None)]


def test_a_length_is_compared_though_the_transport_did_not(path: Path) -> None:
    class Careless(HTTPAdapter):
        """Hands on what came, as urllib3 did before its second version."""

        def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
            response = requests.Response()
            response.status_code, response.url = 200, str(request.url)
            response.headers["Content-Length"] = "10"
            response.raw = HTTPResponse(BytesIO(b"film"), preload_content=False)
            return response

    session = FileSession(LOCAL)
    session.mount("http://", Careless())
    error = failure("http://127.0.0.1/x", path, session=session)
    assert str(error) == "file_broken_off: 4 bytes came of 10 that were declared"
