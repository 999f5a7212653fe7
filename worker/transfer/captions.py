"""Captions: what keeps a text from being stored as TTML?"""

from xml.parsers import expat

# TTML's own namespace, and those of its drafts: "DFXP" files bear them to this day.
_ROOTS = frozenset(
    f"http://www.w3.org/{name} tt"
    for name in ("ns/ttml", "2006/10/ttaf1", "2006/04/ttaf1", "2006/10/ttaf1#", "2006/04/ttaf1#")
)


class _NotTtml(Exception):  # noqa: N818  (carries an answer, not a failure)
    pass


def flaw(body: bytes) -> str | None:
    """Return what is wrong with `body` as TTML; None where nothing is.

    It must be well-formed XML, with TTML's root and without a document type. That is where entities
    come from, and TTML needs none (TTML2, 4.1).
    """
    depth = 0

    def begin(name: str, _attributes: dict[str, str]) -> None:
        nonlocal depth
        if depth == 0 and name not in _ROOTS:
            raise _NotTtml("its root is not TTML's")
        depth += 1

    def refuse(*_: object) -> None:
        raise _NotTtml("it has a document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = begin
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)  # noqa: FBT003  (expat names no parameter)
    except _NotTtml as error:
        return str(error)
    except expat.ExpatError as error:
        return f"not well-formed: {error}"
    except (LookupError, ValueError):
        return "its encoding is not known"
    return None
