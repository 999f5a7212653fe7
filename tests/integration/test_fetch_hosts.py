"""Fetch: only from hosts that are allowed, wherever a redirect leads, and no URL is told."""

from pathlib import Path

import pytest

from tests.fetching import failure, get, path_in
from tests.raw_server import Heard, Say, http, raw_server
from worker.errors import Transient


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where the file is to come."""
    return path_in(tmp_path)


def test_a_host_that_is_not_allowed_is_not_even_asked(path: Path) -> None:
    with raw_server(http(body=b"x")) as heard:
        error = failure(f"{heard.url}/x.mp4", path, allowed=("uplynk.com",))
    assert (type(error), error.code) == (Transient, "file_host_unlisted")
    assert heard.requests == []


def moved(to: str, status: str = "302 Found") -> Say:
    return http(status, Location=to, Content_Length="0")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 T", "308 P"])
def test_a_redirect_to_an_allowed_host_is_followed(status: str, path: Path) -> None:
    with raw_server(moved("/y.mp4?a=b", status), http(body=b"film")) as heard:
        assert get(f"{heard.url}/x.mp4", path).size_bytes == 4
    assert [request.split(b" ")[1] for request in heard.requests] == [b"/x.mp4", b"/y.mp4?a=b"]


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("http://localhost:{port}/", "file_host_unlisted"),
        ("http://127.0.0.2:{port}/", "file_host_unlisted"),
        ("http://localhost:{port}\\@127.0.0.1/", "file_host_unlisted"),
        ("//localhost:{port}/", "file_host_unlisted"),
        ("file:///etc/passwd", "file_url_refused"),
        ("ftp://127.0.0.1/x", "file_url_refused"),
        ("http://u:p@127.0.0.1:{port}/", "file_url_refused"),
    ],
)
def test_a_redirect_to_anywhere_else_is_refused(to: str, code: str, path: Path) -> None:
    with (
        raw_server(http(body=b"secret")) as other,
        raw_server(moved(to.format(port=other.port))) as heard,
    ):
        error = failure(heard.url, path)
    assert error.code == code
    assert other.requests == []
    assert not path.exists()


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("http://[", "file_unavailable"),
        ("/\xff", "file_unavailable"),
        ("http://127.0.0.1:99999/", "file_url_refused"),
        ("http://127.0.0.1:x/", "file_url_refused"),
    ],
)
def test_a_redirect_to_what_is_no_url_is_a_documented_failure(
    to: str, code: str, path: Path
) -> None:
    with raw_server(moved(to)) as heard:
        assert failure(heard.url, path).code == code


def test_a_redirect_to_letters_of_utf_8_is_followed(path: Path) -> None:
    with raw_server(moved("/é".encode().decode("latin-1")), http(body=b"film")) as heard:
        get(heard.url, path)
    assert heard.requests[1].startswith(b"GET /%C3%A9 HTTP")


def test_the_body_of_a_redirect_is_not_read(path: Path) -> None:
    endless = Say(moved("/y").head.replace(b"Content-Length: 0\r\n", b"") + b"x" * 1000, hold=True)
    with raw_server(endless, http(body=b"film")) as heard:
        assert get(heard.url, path).size_bytes == 4


def test_redirects_in_a_circle_come_to_an_end(path: Path) -> None:
    with raw_server(moved("/")) as heard:
        error = failure(heard.url, path)
    assert str(error) == "file_unavailable: more than 5 redirects"
    assert len(heard.requests) == 6


def errors_of(heard: Heard, path: Path) -> list[BaseException]:
    waiting: list[BaseException | None] = [failure(f"{heard.url}/x.mp4?token=hunter2", path)]
    for error in waiting:
        if error is not None:
            waiting += [error.__cause__, None if error.__suppress_context__ else error.__context__]
    return [error for error in waiting if error is not None]


@pytest.mark.parametrize(
    "answer",
    [
        Say(),
        Say(reset=True),
        http("404 No"),
        http("500 No"),
        moved("http://[?token=hunter2"),
        moved("http://evil/?token=hunter2"),
        http(body=b"x", Content_Length="9"),
    ],
)
def test_no_traceback_shows_a_signed_url(answer: Say, path: Path) -> None:
    with raw_server(answer) as heard:
        shown = [f"{error!r} {error}" for error in errors_of(heard, path)]
    assert "hunter2" not in "\n".join(shown)
