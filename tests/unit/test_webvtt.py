"""WebVTT: what is spoken, and when, is the same as in the TTML; or there is none."""

from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.captions import ttml
from worker.transfer.captions import flaw
from worker.transfer.webvtt import MOST_BYTES, NotConverted, webvtt

STYLING = 'xmlns:tts="http://www.w3.org/ns/ttml#styling"'


def document(paragraphs: str, *, attributes: str = "", namespace: str = "ns/ttml") -> bytes:
    body = f"<body><div>{paragraphs}</div></body>"
    root = f'<tt xmlns="http://www.w3.org/{namespace}" xml:lang="en" {attributes}>{body}</tt>'
    assert flaw(root.encode()) is None
    return root.encode()


def cues(ttml: bytes) -> list[str]:
    """Return the cues: the line of times, then those of the text."""
    first, *rest = webvtt(ttml).decode().rstrip("\n").split("\n\n")
    assert first == "WEBVTT"
    return [cue.replace(" align:start", "") for cue in rest]


def spoken(paragraph: str, **options: str) -> str:
    [cue] = cues(document(f'<p begin="1s" end="2.5s">{paragraph}</p>', **options))
    times, _, text = cue.partition("\n")
    assert times == "00:00:01.000 --> 00:00:02.500"
    return text


@pytest.mark.parametrize(
    ("paragraph", "text"),
    [
        ("Good evening", "Good evening"),
        ("one<br/>two", "one\ntwo"),
        ("one\n      two", "one two"),
        ("\n  one\n  <br/>\n  two\n", "one\ntwo"),
        ("one <span>two</span> three", "one two three"),
        ("<span>one t<span>w</span></span>o", "one two"),
        ("<!-- by hand -->one", "one"),
        ("<metadata>a title</metadata>one", "one"),
        ('<m:note xmlns:m="urn:m">a note</m:note>one', "one"),
        ("Tom &amp; Jerry", "Tom &amp; Jerry"),
        ("a &lt;b&gt; c", "a &lt;b> c"),
        ("a --&gt; b", "a --&gt; b"),
        ("Grüße 你好", "Grüße 你好"),
    ],
)
def test_what_is_spoken_is_written_as_webvtt_has_it(paragraph: str, text: str) -> None:
    assert spoken(paragraph) == text


def test_a_region_that_is_not_there_is_no_matter() -> None:
    [cue] = cues(document('<p region="none" begin="1s" end="2s">one</p>'))
    assert cue.endswith("\none")


def test_italics_stay() -> None:
    paragraph = 'one <span tts:fontStyle="italic">two</span>'
    assert spoken(paragraph, attributes=STYLING) == "one <i>two</i>"


def test_the_drafts_of_ttml_are_read_too() -> None:
    assert spoken("one", namespace="2006/10/ttaf1") == "one"


def test_prefixes_are_no_matter() -> None:
    plain = document('<p begin="1s" end="2s">one<br/>two</p>').decode()
    prefixed = plain.replace("xmlns=", "xmlns:t=").replace("</", "</t:").replace("<", "<t:")
    prefixed = prefixed.replace("<t:/t:", "</t:")
    assert flaw(prefixed.encode()) is None
    assert cues(prefixed.encode()) == cues(plain.encode())


@pytest.mark.parametrize(
    ("times", "line"),
    [
        ('begin="00:00:01.500" end="00:00:03.250"', "00:00:01.500 --> 00:00:03.250"),
        ('begin="1.5s" dur="2s"', "00:00:01.500 --> 00:00:03.500"),
        ('begin="90000ms" end="2m"', "00:01:30.000 --> 00:02:00.000"),
        ('begin="00:00:01:10" end="50f"', "00:00:01.400 --> 00:00:02.000"),
        ('begin="10:00:00.000" end="23:59:59.999"', "10:00:00.000 --> 23:59:59.999"),
    ],
)
def test_times_are_kept_however_they_are_written(times: str, line: str) -> None:
    parameters = 'xmlns:ttp="http://www.w3.org/ns/ttml#parameter" ttp:frameRate="25"'
    [cue] = cues(document(f"<p {times}>one</p>", attributes=parameters))
    assert cue.partition("\n")[0] == line


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_any_encoding_becomes_utf_8(encoding: str) -> None:
    text = document('<p begin="1s" end="2s">Grüße</p>').decode()
    body = f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding)
    assert cues(body) == ["00:00:01.000 --> 00:00:02.000\nGrüße"]


def test_the_emulators_captions_are_converted_cue_by_cue() -> None:
    body = ttml("a" * 32, 60.0)
    assert len(cues(body.encode())) == body.count("<p ")


@pytest.mark.parametrize(
    ("paragraphs", "said"),
    [
        ("", "empty caption file"),
        ("<p>when?</p>", "Missing begin time"),
        ('<p begin="soon" end="later">one</p>', "Invalid timestamp"),
        ('<div begin="10s"><p begin="1s" end="2s">one</p></div>', "the element div has times"),
        ('<p begin="1s" end="2s"><span begin="1s">one</span></p>', "the element span has times"),
        (f'<p begin="1s" end="2s">{"<span>" * 5000}one{"</span>" * 5000}</p>', "RecursionError"),
        ('<p begin="23:00:00" end="24:00:00">one</p>', "longer than a day"),
        (f'<p begin="1s" end="2s">{"x" * MOST_BYTES}</p>', "larger than"),
    ],
)
def test_what_cannot_be_converted_is_said_and_nothing_half_is_made(
    paragraphs: str, said: str
) -> None:
    with pytest.raises(NotConverted, match=said):
        webvtt(document(paragraphs))


@settings(deadline=None)
@given(
    words=st.lists(
        st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Z"]), max_size=20),
        max_size=5,
    )
)
def test_no_word_is_lost_in_silence(words: list[str]) -> None:
    escaped = [w.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for w in words]
    body = document(f'<p begin="0s" end="1s">{"<br/>".join(escaped)}</p>')
    try:
        text = webvtt(body).decode()
    except NotConverted:
        return
    left = unescape(text).split()
    for word in " ".join(words).split():
        assert word in left
