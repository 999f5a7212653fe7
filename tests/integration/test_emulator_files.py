"""The files over real HTTP: whole, in ranges, and struck by every kind of fault."""

import hashlib
import socket
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fcntl import ioctl
from logging import ERROR
from pathlib import Path
from termios import FIONREAD
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import av
import pytest
import requests
from urllib3.exceptions import ProtocolError

from emulator.control import ControlError
from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from emulator.wire import RESET_ON_CLOSE
from tests.signed import post
from tests.waiting import wait_until

ASSET = "a" * 32
SIZE_BYTES = 300_000


def create(emulator: Emulator, asset: str = ASSET, **more: Any) -> dict[str, Any]:
    job: dict[str, Any] = post(emulator, "jobs/create_export", asset=asset, **more).json()["job"]
    return job


def url_of(emulator: Emulator, asset: str = ASSET, **more: Any) -> str:
    url: str = create(emulator, asset, **more)["hd_exported_url"]
    return url


def get(url: str, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(url, headers=named, timeout=10)


def drained(url: str, **headers: str) -> tuple[int, Exception | None]:
    """Read to the end, and return how many bytes came and what stopped them."""
    count = 0
    with requests.get(url, headers=headers, stream=True, timeout=10) as response:
        try:
            while chunk := response.raw.read(4096):
                count += len(chunk)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return count, error
    return count, None


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    settings = EmulatorSettings(
        speed=0,
        run_seconds=0,
        media_seconds=1,
        media_size_bytes=SIZE_BYTES,
        media_dir=tmp_path_factory.mktemp("media"),
    )
    with Emulator(settings) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    running.control.reset()
    return running


def test_the_file_is_whole_and_plays(emulator: Emulator, tmp_path: Path) -> None:
    job = create(emulator)
    response = get(job["hd_exported_url"])
    assert (response.status_code, response.headers["Content-Type"]) == (200, "video/mp4")
    assert response.headers["Content-Length"] == str(SIZE_BYTES)
    truth = emulator.control.media(job["id"])
    assert truth["sha256"] == hashlib.sha256(response.content).hexdigest()
    assert (truth["size_bytes"], truth["etag"]) == (SIZE_BYTES, response.headers["ETag"])
    (tmp_path / "a.mp4").write_bytes(response.content)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.duration == pytest.approx(1e6, abs=1e5)


def test_head_tells_the_same_as_get(emulator: Emulator) -> None:
    url = url_of(emulator)
    head, whole = requests.head(url, timeout=10), get(url)
    for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"):
        assert head.headers[name] == whole.headers[name]
    assert head.content == b""


@pytest.mark.parametrize(
    ("header", "part"),
    [("bytes=0-99", slice(0, 100)), ("bytes=1000-", slice(1000, None)),
     ("bytes=-7", slice(-7, None)), ("bytes=0-999999999", slice(None))],
)  # fmt: skip
def test_a_range(emulator: Emulator, header: str, part: slice) -> None:
    url = url_of(emulator)
    whole, response = get(url).content, get(url, Range=header)
    assert response.status_code == 206
    assert response.content == whole[part]
    start, end, _ = part.indices(SIZE_BYTES)
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE_BYTES}"


def test_a_range_outside_is_416(emulator: Emulator) -> None:
    response = get(url_of(emulator), Range=f"bytes={SIZE_BYTES}-")
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{SIZE_BYTES}"


def test_if_range_decides_between_the_rest_and_all(emulator: Emulator) -> None:
    url = url_of(emulator)
    first = get(url)
    etag, date = first.headers["ETag"], first.headers["Last-Modified"]
    assert get(url, Range="bytes=5-", If_Range=etag).status_code == 206
    assert get(url, Range="bytes=5-", If_Range=date).status_code == 206
    assert get(url, Range="bytes=5-", If_Range='"another"').status_code == 200
    assert get(url, Range="bytes=9999999-", If_Range='"another"').status_code == 200


def test_captions_come_beside_the_file_or_not_at_all(emulator: Emulator) -> None:
    with_captions, without = url_of(emulator, "a" * 32), url_of(emulator, "b" * 32 + "")
    response = get(f"{with_captions}.ttml")
    assert response.headers["Content-Type"] == "application/ttml+xml"
    assert ET.fromstring(response.content).tag.endswith("tt")  # noqa: S314 - our own text
    emulator.control.asset("b" * 32, captions=False)
    assert get(f"{without}.ttml").status_code == 404
    assert get(without).status_code == 200


def test_there_is_no_file_before_the_job_is_done(emulator: Emulator) -> None:
    emulator.control.asset(ASSET, run_seconds=10)
    job = create(emulator)
    emulator.control.advance(10)
    guess = f"{emulator.url}/slices/{job['id']}_g.mp4"
    assert get(guess).status_code == 404
    assert requests.head(guess, timeout=10).status_code == 404


def test_overrides_shape_the_file_of_one_asset(emulator: Emulator) -> None:
    emulator.control.asset("c" * 32, media_seconds=2, media_size_bytes=3 * 2**30)
    head = requests.head(url_of(emulator, "c" * 32), timeout=10)
    assert head.headers["Content-Length"] == str(3 * 2**30)
    assert get(url_of(emulator, "c" * 32), Range="bytes=-3").content == b"\0\0\0"
    assert len(get(url_of(emulator)).content) == SIZE_BYTES


def test_aac_lc_and_he_aac_are_two_files(emulator: Emulator) -> None:
    assert get(url_of(emulator, aaclc=1)).content != get(url_of(emulator)).content


def test_requests_at_once_get_one_file(emulator: Emulator) -> None:
    emulator.control.asset("d" * 32, media_seconds=3)
    url = url_of(emulator, "d" * 32)
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(get, [url] * 6))
    assert len({(answer.content, answer.headers["ETag"]) for answer in answers}) == 1


def test_a_truncated_answer(emulator: Emulator) -> None:
    url = url_of(emulator)
    emulator.control.fault("media", "truncate", bytes=1000)
    count, error = drained(url)
    assert isinstance(error, ProtocolError)
    assert "1000 bytes read" in str(error)
    assert count <= 1000
    with requests.get(url, stream=True, timeout=10) as response:
        assert response.headers["Content-Length"] == str(SIZE_BYTES)


def test_a_short_answer_agrees_with_itself(emulator: Emulator) -> None:
    emulator.control.fault("media", "short", bytes=1000, times=1)
    url = url_of(emulator)
    response = get(url)
    assert (len(response.content), response.headers["Content-Length"]) == (1000, "1000")
    assert len(get(url).content) == SIZE_BYTES


def test_a_cut_connection_gives_what_was_sent_and_then_a_reset(emulator: Emulator) -> None:
    emulator.control.fault("media", "cut", bytes=100_000)
    count, error = drained(url_of(emulator), Range="bytes=100-")
    assert "reset" in repr(error).lower()
    assert 90_000 <= count <= 100_000


def test_ranges_ignored(emulator: Emulator) -> None:
    emulator.control.fault("media", "ignore_range")
    response = get(url_of(emulator), Range="bytes=100-")
    assert (response.status_code, len(response.content)) == (200, SIZE_BYTES)


def test_not_found_heals(emulator: Emulator) -> None:
    emulator.control.fault("media", "not_found", times=2)
    url = url_of(emulator)
    assert [get(url).status_code for _ in range(3)] == [404, 404, 200]


def test_forbidden_for_one_asset(emulator: Emulator) -> None:
    emulator.control.fault("media", "forbidden", asset=ASSET)
    assert get(url_of(emulator)).status_code == 403
    assert get(url_of(emulator, "e" * 32)).status_code == 200


def test_a_throttled_answer_takes_its_time(emulator: Emulator) -> None:
    emulator.control.fault("media", "throttle", bytes_per_second=SIZE_BYTES * 2)
    begin = time.monotonic()
    assert len(get(url_of(emulator)).content) == SIZE_BYTES
    assert time.monotonic() - begin >= 0.4


def test_a_login_page_in_a_video_s_clothes(emulator: Emulator) -> None:
    emulator.control.fault("media", "login_page")
    response = get(url_of(emulator))
    assert (response.status_code, response.headers["Content-Type"]) == (200, "video/mp4")
    assert b"Sign in" in response.content


def test_no_length(emulator: Emulator) -> None:
    emulator.control.fault("media", "no_length")
    response = get(url_of(emulator))
    assert "Content-Length" not in response.headers
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert len(response.content) == SIZE_BYTES


def test_a_changed_etag_spoils_if_range(emulator: Emulator) -> None:
    url = url_of(emulator)
    etag = get(url).headers["ETag"]
    emulator.control.fault("media", "changed_etag")
    response = get(url, Range="bytes=5-", If_Range=etag)
    assert response.status_code == 200
    assert response.headers["ETag"] != etag


@pytest.mark.parametrize("call", ["media", "captions"])
def test_general_faults_strike_files_too(emulator: Emulator, call: str) -> None:
    emulator.control.asset(ASSET, captions=True)
    url = url_of(emulator) + (".ttml" if call == "captions" else "")
    emulator.control.fault(call, "status", status=429, retry_after=1, times=1)
    emulator.control.fault(call, "html", times=1)
    emulator.control.fault(call, "empty", times=1)
    emulator.control.fault(call, "reset_before", times=1)
    busy, page, nothing = get(url), get(url), get(url)
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "1")
    assert page.headers["Content-Type"].startswith("text/html")
    assert nothing.content == b""
    with pytest.raises(requests.ConnectionError):
        get(url)
    assert get(url).status_code == 200


def test_a_head_does_not_use_up_what_strikes_a_body(emulator: Emulator) -> None:
    url = url_of(emulator)
    emulator.control.fault("media", "short", bytes=5, times=1)
    assert requests.head(url, timeout=10).headers["Content-Length"] == str(SIZE_BYTES)
    assert len(get(url).content) == 5


def test_settings_for_what_no_text_settles() -> None:
    settings = EmulatorSettings(
        speed=0, run_seconds=0, media_seconds=1, ranges=False, etags=False, file_life_seconds=60
    )
    with Emulator(settings) as emulator:
        url = url_of(emulator)
        response = get(url, Range="bytes=5-")
        emulator.control.advance(61)
        later = get(url)
    assert (response.status_code, later.status_code) == (200, 404)
    assert "ETag" not in response.headers
    assert "Accept-Ranges" not in response.headers


def test_the_true_file_of_no_job(emulator: Emulator) -> None:
    with pytest.raises(ControlError, match="no such job"):
        emulator.control.media("0" * 32)


def test_leaving_while_a_long_file_is_made_and_another_sent() -> None:
    settings = EmulatorSettings(speed=0, run_seconds=0, media_seconds=1)
    with ThreadPoolExecutor(2) as threads:
        with Emulator(settings) as emulator:
            emulator.control.asset("c" * 32, media_seconds=12 * 3600)
            emulator.control.fault("media", "throttle", bytes_per_second=100, asset=ASSET)
            urls = [url_of(emulator, asset) for asset in ("c" * 32, ASSET)]
            futures = [threads.submit(get, url) for url in urls]
            while emulator.control.calls()["calls"].get("media", 0) < 2:
                assert not any(future.done() for future in futures)
            begin = time.monotonic()
        assert time.monotonic() - begin < 20
        assert all(isinstance(each.exception(30), requests.RequestException) for each in futures)


def test_a_client_that_leaves_while_the_line_is_full_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    more_than_all_buffers = 64 << 20
    settings = EmulatorSettings(
        speed=0, run_seconds=0, media_seconds=1, media_size_bytes=more_than_all_buffers
    )
    with Emulator(settings) as emulator:
        place = urlsplit(url_of(emulator))
        with socket.create_connection((str(place.hostname), int(place.port or 0))) as line:
            line.sendall(f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
            unread = [0]

            def is_full() -> bool:
                unread.append(_unread(line))
                return 0 < unread[-2] == unread[-1]

            wait_until(is_full, what="a line that carries no more")
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        emulator.control.calls()  # what was reset before it was asked has been seen by now
    assert [record.getMessage() for record in caplog.records if record.levelno >= ERROR] == []


def _unread(line: socket.socket) -> int:
    count = array("i", [0])
    ioctl(line, FIONREAD, count)
    return count[0]
