"""Captions: is this text TTML that may be stored?"""

from xml.parsers import expat

# TTML's own namespace, and those of its drafts: "DFXP" files bear them to this day.
_ROOTS = frozenset(
    f"http://www.w3.org/{name} tt"
    for name in ("ns/ttml", "2006/10/ttaf1", "2006/04/ttaf1", "2006/10/ttaf1#", "2006/04/ttaf1#")
)


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
        if depth == 0 and name not in _ROOTS:
            raise _NotTtml
        depth += 1

    def refuse(*_: object) -> None:
        raise _NotTtml

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = begin
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)  # noqa: FBT003  (expat names no parameter)
    except (expat.ExpatError, _NotTtml, LookupError, ValueError):  # the last two: its encoding
        return False
    return True
