"""Captions: what is TTML may be stored, and nothing that is sent breaks the reader."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.transfer.captions import flaw

TT = '<tt xmlns="http://www.w3.org/ns/ttml"><body><div><p begin="0s">é</p></div></body></tt>'
PLAIN = TT.encode("ascii", "xmlcharrefreplace")

# Its 100 KB would be 750 MB.
BLOWN_UP = f"""<!DOCTYPE tt [<!ENTITY a "{"a" * 50_000}">]>
<tt xmlns="http://www.w3.org/ns/ttml">{"&a;" * 15_000}</tt>"""

BOMB = """<!DOCTYPE tt [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;">]><tt xmlns="http://www.w3.org/ns/ttml">&c;</tt>"""


def declared(encoding: str, text: str = TT) -> str:
    return f'<?xml version="1.0" encoding="{encoding}"?>\n{text}'


@pytest.mark.parametrize(
    "body",
    [
        TT.encode(),
        b"\xef\xbb\xbf" + TT.encode(),
        declared("utf-8").encode(),
        declared("utf-16").encode("utf-16"),
        declared("iso-8859-1").encode("latin-1"),
        declared("windows-1252").encode("cp1252"),
        b"<!-- by hand -->\n" + TT.encode() + b"\n",
        b'<x:tt xmlns:x="http://www.w3.org/ns/ttml"/>',
        b'<tt xmlns="http://www.w3.org/2006/10/ttaf1"/>',
        b'<tt xmlns="http://www.w3.org/2006/04/ttaf1#"/>',
    ],
)
def test_ttml_is_taken(body: bytes) -> None:
    assert flaw(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\0" * 20,
        b"WEBVTT\n\n00:00.000 --> 00:01.000\nHi",
        b"<!doctype html><html><body>Sign in</body></html>",
        b"<html><body>Sign in</body></html>",
        b'<html xmlns="http://www.w3.org/1999/xhtml"/>',
        b"<tt/>",
        b'<tt xmlns="http://www.w3.org/ns/ttml#styling"/>',
        b'<p xmlns="http://www.w3.org/ns/ttml"/>',
        b'<a><tt xmlns="http://www.w3.org/ns/ttml"/></a>',
        TT.encode()[:-5],
        TT.encode() + TT.encode(),
        TT.encode() + b"<",
        TT.encode() + b"\0",
        TT.encode("latin-1"),
        b'{"error": 0}',
    ],
)
def test_anything_else_is_not(body: bytes) -> None:
    assert flaw(body)


@pytest.mark.parametrize(
    "text",
    [
        f"<!DOCTYPE tt>{TT}",
        f'<!DOCTYPE tt SYSTEM "file:///etc/passwd">{TT}',
        f'<!DOCTYPE tt [<!ENTITY x SYSTEM "file:///etc/passwd">]>{TT.replace("é", "&x;")}',
        BOMB,
        BLOWN_UP,
        f'<!DOCTYPE tt [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x.dtd"> %x;]>{TT}',
        f'<!DOCTYPE tt PUBLIC "-//W3C//DTD" "http://127.0.0.1:1/x.dtd">{TT}',
        f"<!DOCTYPE tt [<!ATTLIST tt x CDATA 'y'>]>{TT}",
        TT.replace("é", "&undefined;"),
    ],
)
def test_a_document_type_or_an_entity_is_refused(text: str) -> None:
    assert flaw(text.encode())


@pytest.mark.parametrize(
    "encoding", ["shift_jis", "utf-7", "gb18030", "hex", "idna", "undefined", "nonsense", "utf-16"]
)
def test_an_encoding_that_cannot_be_read_is_refused(encoding: str) -> None:
    assert flaw(declared(encoding).encode("ascii", "xmlcharrefreplace"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not well-formed: no element found: line 1, column 0"),
        (TT.encode()[:-5], "not well-formed: no element found: line 1, column 81"),
        (b"<html/>", "its root is not TTML's"),
        (f"<!DOCTYPE tt>{TT}".encode(), "it has a document type"),
        (declared("nonsense").encode("ascii", "ignore"), "its encoding is not known"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, said: str) -> None:
    assert flaw(body) == said


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_document_type_is_refused_in_any_encoding(encoding: str) -> None:
    assert flaw(declared("utf-16", BOMB).encode(encoding))


def test_what_is_included_is_not_fetched() -> None:
    include = '<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>'
    assert flaw(TT.replace("é", include).encode()) is None, "to us it is a name like any other"


def test_every_truncation_is_refused() -> None:
    whole = TT.encode()
    assert [end for end in range(len(whole)) if flaw(whole[:end]) is None] == []


def test_depth_is_no_matter() -> None:
    depth = 50_000
    inside = b"<p>" * depth + b"</p>" * depth
    assert flaw(b'<tt xmlns="http://www.w3.org/ns/ttml">' + inside + b"</tt>") is None


@settings(deadline=None)
@given(body=st.binary())
def test_no_bytes_break_the_reader(body: bytes) -> None:
    assert flaw(body)


@settings(deadline=None)
@given(at=st.integers(0, len(PLAIN) - 1), byte=st.integers(0, 255))
def test_no_single_wrong_byte_breaks_the_reader(at: int, byte: int) -> None:
    wrong = flaw(PLAIN[:at] + bytes([byte]) + PLAIN[at + 1 :])
    assert wrong is None or wrong.isprintable()
