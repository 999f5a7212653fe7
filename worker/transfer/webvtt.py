"""WebVTT: captions for players that read no TTML, made by pycaption.

What pycaption 2.3 would get wrong in silence is put right before, or refused: it looks for elements
by the names that they have without a prefix, reads the texts of metadata as if they were spoken,
drops what follows the end of a line, and takes no notice of times but those of paragraphs. In the
end the words must be the same.
"""

import re
from collections import Counter
from collections.abc import Iterator
from html import unescape
from xml.etree import ElementTree as ET

# It takes a hundred times as much memory, for a while.
MOST_BYTES = 1 << 20
DAY_MICROSECONDS = 24 * 3600 * 1_000_000

_PREFIXES = {"#styling": "tts:", "#style": "tts:", "#parameter": "ttp:"}
_TIMES = frozenset({"begin", "end", "dur"})
_TIMED_ALONE = frozenset({"p", "region", "set", "animate"})

_SPACE = re.compile(r"[ \t\r\n]+")
_TAG = re.compile(r"<[^>]*>")
_CUE = re.compile(r"^[0-9:.]+ --> .*\n((?:.+\n)*)", re.MULTILINE)


class NotConverted(Exception):  # noqa: N818  (the captions are good all the same)
    """No WebVTT can be made of these captions; the message says why."""


def webvtt(ttml: bytes) -> bytes:
    """Return the same captions as WebVTT.

    Args:
        ttml: captions in which `captions.flaw` found nothing, so no entities either.

    Raises:
        NotConverted: they can't be made into that, or it would take too much memory.
    """
    if len(ttml) > MOST_BYTES:
        raise NotConverted(f"they are larger than {MOST_BYTES} bytes")
    try:
        return _converted(ET.fromstring(ttml))  # noqa: S314  (it has no document type)
    except NotConverted:
        raise
    except Exception as error:
        raise NotConverted(f"{error!r:.300}") from error


def _converted(root: ET.Element) -> bytes:
    # only where it is wanted: it takes 26 MB
    from pycaption import DFXPReader, WebVTTWriter  # noqa: PLC0415

    namespace = root.tag[1:].partition("}")[0]
    for element in list(root.iter()):
        _plain(element, namespace)
    _ease(root)
    read = DFXPReader().read(ET.tostring(root, encoding="unicode"))
    ends = [each.end for name in read.get_languages() for each in read.get_captions(name)]
    if max(ends) >= DAY_MICROSECONDS:  # it would write the hours of the last day
        raise NotConverted("they last longer than a day")
    written = f"{WebVTTWriter().write(read).strip()}\n"
    texts = (text for paragraph in root.iter("p") for text in (*_texts(paragraph), " "))
    if _spoken_in(written) != Counter("".join(texts).split()):
        raise NotConverted("some of their words would be lost")
    return written.encode()


def _ease(root: ET.Element) -> None:
    """Keep pycaption from looking through all of it, for each cue, for what is not there."""
    if root.find("head/styling") is None:
        head = ET.Element("head")
        ET.SubElement(head, "styling")
        root.insert(0, head)
    regions = {region.get("xml:id") for region in root.iter("region")}
    for element in root.iter():
        if element.get("region") not in {None, *regions}:
            del element.attrib["region"]


def _texts(element: ET.Element) -> Iterator[str]:
    """Give what is spoken in the element, with a space where a line ends."""
    yield element.text or ""
    for child in element:
        yield " " if child.tag == "br" else ""
        yield from _texts(child)
        yield child.tail or ""


def _spoken_in(written: str) -> Counter[str]:
    lines = " ".join(_CUE.findall(written))
    return Counter(unescape(_TAG.sub("", lines)).replace("\xa0", " ").split())


def _plain(element: ET.Element, namespace: str) -> None:
    """Give the element and its attributes the names by which pycaption looks for them."""
    element.tail = element.tail and _SPACE.sub(" ", element.tail)
    space, _, name = element.tag.rpartition("}") if isinstance(element.tag, str) else ("", "", "")
    if space[1:] != namespace or name == "metadata":  # nothing that is spoken
        element.text = None
        element.tag = "metadata"
        element.attrib.clear()
        return
    if name not in _TIMED_ALONE and not _TIMES.isdisjoint(element.keys()):
        raise NotConverted(f"the element {name} has times of its own")
    element.tag = name
    element.text = element.text and _SPACE.sub(" ", element.text)
    element.attrib = {_named(key, namespace): value for key, value in element.items()}


def _named(key: str, namespace: str) -> str:
    space, _, name = key.rpartition("}")
    if space == "{http://www.w3.org/XML/1998/namespace":
        return f"xml:{name}"
    return _PREFIXES.get(space[1:].removeprefix(namespace.removesuffix("#")), "") + name
