"""Replies: what an HTTP reply's headers say of the file (RFC 9110)."""

import re
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import requests

from worker.transfer.part import Origin

MOST_LENGTH_DIGITS = 18  # what a database keeps as a whole number

_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.ASCII)
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')


def total_bytes(reply: requests.Response) -> int | None:
    """Return how long the whole file is, if the reply says so."""
    if reply.status_code == requests.codes.partial_content:
        _, total = _span(reply)
        return total
    return _length(reply)


def validator(reply: requests.Response) -> str | None:
    """Return what tells this file from its later versions, fit for an If-Range (13.1.5), if any.

    A Last-Modified will do when the reply was sent a second or more after it (8.8.2.2). Of an
    encoded body no range can be asked for that fits what it was decoded to.
    """
    if _is_encoded(reply):
        return None
    if _STRONG_ETAG.fullmatch(etag := reply.headers.get("ETag", "")):
        return etag
    if etag:
        return None
    modified, sent = _time(reply, "Last-Modified"), _time(reply, "Date")
    if modified and sent and sent - modified >= timedelta(seconds=1):
        return reply.headers["Last-Modified"]
    return None


def goes_on(reply: requests.Response, origin: Origin, size_bytes: int) -> bool:
    """Return whether this answer to a range goes on at the byte after `size_bytes` of this file.

    A 416 does, if it says that the file ends there.
    """
    start, total = _span(reply)
    if reply.status_code == requests.codes.requested_range_not_satisfiable:
        return total == size_bytes
    kind = "ETag" if origin.validator.startswith('"') else "Last-Modified"
    return (
        start == size_bytes
        and not _is_encoded(reply)
        and origin.total_bytes in {None, total}
        and reply.headers.get(kind, origin.validator) == origin.validator
    )


def _span(reply: requests.Response) -> tuple[int | None, int | None]:
    """Return the first byte that comes, and how many the file has, as far as it says."""
    match = _RANGE.fullmatch(reply.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    start, _, total = match.groups()
    return int(start) if start else None, None if total == "*" else int(total)


def _length(reply: requests.Response) -> int | None:
    """Return how many bytes will come, if the server says; of an encoded body it can't."""
    if _is_encoded(reply) or "Transfer-Encoding" in reply.headers:
        return None
    length = reply.headers.get("Content-Length", "")
    fits = length.isascii() and length.isdigit() and len(length) <= MOST_LENGTH_DIGITS
    return int(length) if fits else None


def _is_encoded(reply: requests.Response) -> bool:
    return reply.headers.get("Content-Encoding", "identity") != "identity"


def _time(reply: requests.Response, name: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(reply.headers.get(name, ""))
    except ValueError:
        return None
    return time if time.tzinfo else None
