"""Which bytes of a file a request asks for (RFC 9110, section 14)."""

import re
from email.utils import parsedate_to_datetime

SINGLE = re.compile(r"bytes=(\d*)-(\d*)")


class UnsatisfiableError(Exception):
    """The range lies outside the file."""


def wanted(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last, or None for the whole file.

    Several ranges at once, and what is no range at all, are ignored, as the standard allows.

    Raises:
        UnsatisfiableError: The range is well formed and holds no byte of the file.
    """
    match = SINGLE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start = int(first)
        if last and int(last) < start:
            return None
        end = min(int(last) + 1, size_bytes) if last else size_bytes
    if start >= size_bytes or start == end:
        raise UnsatisfiableError
    return start, end


def unchanged(if_range: str | None, etag: str | None, modified: int) -> bool:
    """Tell whether an If-Range header, if there is one, names the file as it is.

    Args:
        if_range: The header: a strong ETag in quotes, or an HTTP date.
        etag: The file's ETag in quotes, or None if it has none.
        modified: The file's Last-Modified as Unix time in seconds.
    """
    if if_range is None:
        return True
    if if_range.startswith(('"', "W/")):
        return etag is not None and if_range.strip() == etag
    try:
        return int(parsedate_to_datetime(if_range).timestamp()) == modified
    except ValueError:
        return False
