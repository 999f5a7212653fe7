"""Captions: is this text TTML that may be stored?"""

from xml.parsers import expat

_ROOT = "http://www.w3.org/ns/ttml tt"


class _NotTtml(Exception):  # noqa: N818  (carries an answer, not a failure)
    pass


def is_ttml(body: bytes) -> bool:
    """Return whether `body` is well-formed XML with TTML's root and without a document type.

    A document type is where entities come from, and TTML needs none (TTML2, 4.1), so a text that
    has one is not taken.
    """
    depth = 0

    def begin(name: str, _attributes: dict[str, str]) -> None:
        nonlocal depth
        if depth == 0 and name != _ROOT:
            raise _NotTtml
        depth += 1

    def refuse(*_: object) -> None:
        raise _NotTtml

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = begin
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)  # noqa: FBT003  (expat names no parameter)
    except (expat.ExpatError, _NotTtml, UnicodeError, LookupError):
        return False
    return True
