"""Fetch: a text comes whole, and no larger than is allowed."""

import gzip

import pytest

from emulator.server import Emulator
from tests.fetching import LOCAL, a_file, text
from tests.raw_server import Say, http, raw_server
from worker.errors import Transient
from worker.transfer import ask
from worker.transfer.ask import LITTLE_BYTES
from worker.transfer.fetch import UrlGone
from worker.transfer.session import FileSession


def test_a_text_comes_whole(emulator: Emulator) -> None:
    url, _ = a_file(emulator, captions=True)
    assert b"http://www.w3.org/ns/ttml" in text(f"{url}.ttml", most_bytes=100_000)


def test_a_text_that_is_not_there_is_gone(emulator: Emulator) -> None:
    url, _ = a_file(emulator, captions=False)
    with pytest.raises(UrlGone) as gone:
        text(f"{url}.ttml")
    assert gone.value.is_not_found


@pytest.mark.parametrize(
    ("declared", "sent", "connections"),
    [
        (9, 9, 1),
        (0, 0, 1),
        (9, 5, 2),
        (LITTLE_BYTES, LITTLE_BYTES, 1),
        (LITTLE_BYTES + 1, LITTLE_BYTES + 1, 2),
    ],
)
def test_what_is_not_there_costs_no_connection(declared: int, sent: int, connections: int) -> None:
    head = f"HTTP/1.1 404 Not Found\r\nContent-Length: {declared}\r\n\r\n"
    gone = Say(head.encode() + b"x" * sent, goes_on=sent == declared)
    with raw_server(gone) as heard, FileSession(LOCAL) as session:
        for _ in range(2):
            with pytest.raises(UrlGone):
                ask.whole(session, heard.url)
            session.let_go()
    assert heard.connections == connections


@pytest.mark.timeout(20)  # it is held back for longer
def test_what_is_not_there_is_known_though_its_body_never_comes() -> None:
    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n"
    with raw_server(Say(head, hold=True)) as heard, pytest.raises(UrlGone):
        text(heard.url)


@pytest.mark.parametrize(("size", "fits"), [(0, True), (1000, True), (1001, False)])
def test_a_text_has_a_size_at_the_most(size: int, *, fits: bool) -> None:
    with raw_server(http(body=b"x" * size)) as heard:
        if fits:
            assert len(text(heard.url)) == size
            return
        with pytest.raises(Transient, match="file_too_large: more than 1000 bytes"):
            text(heard.url)


def test_a_text_that_is_packed_to_burst_is_left() -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    answer = http(body=packed, Content_Encoding="gzip")
    with raw_server(answer) as heard, pytest.raises(Transient, match="file_too_large"):
        text(heard.url)


def test_a_text_that_breaks_off_is_transient() -> None:
    answer = http(body=b"x", Content_Length="5")
    with raw_server(answer) as heard, pytest.raises(Transient, match="file_broken_off"):
        text(heard.url)
