"""Fetch: a text comes whole, and no larger than is allowed."""

import gzip

import pytest

from emulator.server import Emulator
from tests.fetching import a_file, text
from tests.raw_server import http, raw_server
from worker.errors import Transient
from worker.transfer.fetch import UrlGone


def test_a_text_comes_whole(emulator: Emulator) -> None:
    url, _ = a_file(emulator, captions=True)
    assert b"http://www.w3.org/ns/ttml" in text(f"{url}.ttml", most_bytes=100_000)


def test_a_text_that_is_not_there_is_gone(emulator: Emulator) -> None:
    url, _ = a_file(emulator, captions=False)
    with pytest.raises(UrlGone) as gone:
        text(f"{url}.ttml")
    assert gone.value.is_not_found


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
