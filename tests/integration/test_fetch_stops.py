"""Fetch: whoever is to stop does so at once, though nothing comes, and judges nothing by that."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from socket import create_server, socket

import pytest

from tests.fetching import LOCAL, Told, Watch, get, path_in, text
from tests.raw_server import Say, http, raw_server
from tests.waiting import wait_until
from worker.transfer.session import FileSession

# With a read timeout of 60 s, a test that waits for it fails.
pytestmark = pytest.mark.timeout(30)

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where the file is to come."""
    return path_in(tmp_path)


def stopped(call: Callable[[], object], guard: Watch, when: Callable[[], object]) -> None:
    """Have the guard stop `call` once `when` has come true."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(call)
        wait_until(lambda: guard.watching.is_set() and when())
        guard.stop()
        with pytest.raises(Told):
            running.result()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        HEAD[:5],
        HEAD + b"Content-Length: 10\r\n\r\n",
        HEAD + b'ETag: "1"\r\nContent-Length: 10\r\n\r\nfilm',
        HEAD + b"\r\nfilm",
        HEAD + b"Connection: close\r\n\r\nfilm",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfilm\r\n",
    ],
)
def test_a_server_that_falls_silent_is_left(said: bytes, path: Path) -> None:
    guard = Watch()
    with raw_server(Say(said, hold=True)) as heard:
        stopped(lambda: get(heard.url, path, guard), guard, lambda: heard.requests)
    assert guard.checks > 0


def test_captions_that_do_not_come_are_left() -> None:
    guard = Watch()
    with raw_server(Say(HEAD + b"\r\n<tt", hold=True)) as heard, FileSession(LOCAL) as session:
        stopped(
            lambda: text(heard.url, guard=guard, session=session),
            guard,
            lambda: heard.requests,
        )


@contextmanager
def full_server() -> Iterator[str]:
    """Give the URL of a server whose queue is full: nobody gets a connection (tcp(7), backlog)."""
    with (
        create_server(("127.0.0.1", 0), backlog=0) as server,
        socket() as first,
        socket() as second,
    ):
        for waiting in (first, second):
            waiting.settimeout(0)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.mark.timeout(9)  # by itself it gives up after ten seconds
def test_a_connection_that_is_not_made_is_left(path: Path) -> None:
    guard = Watch()
    with full_server() as url:
        stopped(lambda: get(url, path, guard), guard, lambda: True)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_silent_proxy_is_left(scheme: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Watch()
    monkeypatch.setenv("no_proxy", "")
    with raw_server(Say(hold=True)) as heard:
        monkeypatch.setenv(f"{scheme}_proxy", heard.url)
        url = f"{scheme}://127.0.0.1/"
        stopped(lambda: get(url, path, guard), guard, lambda: heard.requests)


def test_a_connection_that_was_kept_is_left_too() -> None:
    kept = Say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfilm", hold=True)
    guard = Watch()
    with raw_server(kept) as heard, FileSession(LOCAL) as session:
        assert text(heard.url, session=session) == b"film"
        stopped(
            lambda: text(heard.url, guard=guard, session=session),
            guard,
            lambda: True,
        )
    assert len(heard.requests) == 1, "the second one went where nobody listens any more"


def test_who_is_to_stop_already_does_not_even_ask(path: Path) -> None:
    guard = Watch()
    guard.stop()
    with raw_server(http(body=b"film")) as heard, pytest.raises(Told):
        get(heard.url, path, guard)
    assert heard.requests == []


def test_what_is_there_is_hashed_no_further_if_it_is_to_stop(path: Path) -> None:
    film = b"x" * 5_000_000
    answer = http(body=film, Content_Length=str(len(film)), ETag='"1"')
    with raw_server(answer) as heard:
        get(heard.url, path)
        guard = Watch()
        guard.stopped.set()
        with pytest.raises(Told):
            get(heard.url, path, guard)
    assert path.stat().st_size == len(film)


def test_a_session_that_was_cut_serves_the_next() -> None:
    guard = Watch()
    with FileSession(LOCAL) as session:
        with raw_server(Say(hold=True)) as heard:
            stopped(
                lambda: text(heard.url, guard=guard, session=session),
                guard,
                lambda: heard.requests,
            )
        with raw_server(http(body=b"film")) as heard:
            assert text(heard.url, session=session) == b"film"
