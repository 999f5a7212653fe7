"""Ask: a request for a file or a span of it, and what is understood as an answer to that."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urljoin

import requests
from urllib3.exceptions import HTTPError, NameResolutionError

from worker.errors import Transient
from worker.headers import date_of, retry_after
from worker.transfer import hosts
from worker.transfer.part import Origin
from worker.transfer.session import FileSession

# How much is read at once: the less of these, the slower it comes.
PIECE_BYTES, LEAST_PIECE_BYTES = 1 << 20, 16 << 10
SOON_SECONDS = 0.02
MOST_REDIRECTS = 5
TIMEOUT_SECONDS = (10.0, 60.0)  # to connect; between two pieces

# What a server answers for a URL that has run out or a file that isn't there (any more).
GONE = frozenset({403, 404, 410})
# What it says beside that is read, if it is no more than this and comes so soon: then its
# connection stays. Many a film has no captions.
LITTLE_BYTES, LITTLE_SECONDS = 16 << 10, 1.0
OK, PARTIAL, UNSATISFIABLE = 200, 206, 416


class UrlGone(Transient):
    """The URL leads to no file (any more): it ran out, or there never was one.

    Attributes:
        is_not_found: whether the answer was a plain 404.
    """

    def __init__(self, code: str, message: str, *, is_not_found: bool = False) -> None:
        super().__init__(code, message)
        self.is_not_found = is_not_found


def whole(http: FileSession, url: str) -> requests.Response:
    """Return the opened reply that brings all of the file, having checked the host of every hop.

    Raises:
        UrlGone: 403, 404 or 410, or a host that no name leads to.
        Transient: any other answer, or none.
        Permanent: a URL that may not be fetched from.
    """
    return _opened(http, url, {}, {OK})


def span(
    http: FileSession, url: str, origin: Origin, start: int, end: int | None
) -> requests.Response:
    """Return the opened answer to a request for the bytes from `start` to before `end` (RFC 9110).

    Its status is 200, if the file is another by now or the server knows no ranges, 206 or 416; what
    it brings is still to be judged by `replies.goes_on`. Raises as `whole` does.
    """
    last = "" if end is None else end - 1
    headers = {"Range": f"bytes={start}-{last}", "If-Range": origin.validator}
    return _opened(http, url, headers, {OK, PARTIAL, UNSATISFIABLE})


def pieces(reply: requests.Response) -> Iterator[bytes]:
    """Give what comes, in pieces that come within a moment, also the last one before a break.

    On a slow line that is whatever is there, so that progress is told all the same; on a fast one
    each piece takes its work, so they are large. requests' own way is to wait until one is full.

    Raises:
        Transient: it broke off.
    """
    size, trouble = LEAST_PIECE_BYTES, None
    # no server was asked to encode; to decode what is none is to copy it
    is_encoded = "Content-Encoding" in reply.headers
    while trouble is None:
        begun, came = time.monotonic(), list[bytes]()
        lacking, seconds = size, 0.0
        while lacking > 0 and seconds < SOON_SECONDS:
            try:
                some = reply.raw.read1(lacking, decode_content=is_encoded)
            except HTTPError as error:
                trouble = broken_off(f"the download broke off ({type(error).__name__})")
                break
            if not some:
                break
            came.append(some)
            lacking, seconds = lacking - len(some), time.monotonic() - begun
        if came:
            yield came[0] if len(came) == 1 else b"".join(came)
        elif trouble is None:
            return
        size = min(2 * size, PIECE_BYTES) if lacking <= 0 else LEAST_PIECE_BYTES
    raise trouble


def is_read(reply: requests.Response) -> bool:
    """Return whether all came that was declared, so that its connection may be used again."""
    return bool(reply.raw.length_remaining == 0)


def broken_off(why: str) -> Transient:
    """Return what is raised where the file's bytes ended too early."""
    return Transient("file_broken_off", why)


def _opened(
    http: FileSession, url: str, headers: Mapping[str, str], understood: set[int]
) -> requests.Response:
    """Return the opened reply, of one of the statuses that are understood.

    What requests raises ends here, `from None`: its texts hold the URL, which may be signed.
    """
    for _ in range(MOST_REDIRECTS + 1):
        hosts.check(url, http.allowed)
        locations: list[str] = []
        try:
            reply = http.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=TIMEOUT_SECONDS,
                # lengths, ranges and hashes are the file's own
                headers={"Accept-Encoding": "identity", **headers},
                hooks={"response": partial(_take_location, locations)},
            )
        except (requests.RequestException, HTTPError) as error:  # urllib3's own get through too
            raise _unreachable(error) from None
        if locations:
            reply.close()
            url = _joined(url, locations[0])
            continue
        if reply.status_code in understood:
            return reply
        if reply.status_code in GONE:
            _read_little(reply)
        reply.close()
        raise _refused(reply)
    raise Transient("file_unavailable", f"more than {MOST_REDIRECTS} redirects")


def _read_little(reply: requests.Response) -> None:
    """Read the body if it is short, and comes within a moment; else its connection is closed."""
    length, connection = reply.raw.length_remaining, reply.raw.connection
    if length is None or length > LITTLE_BYTES or connection is None or connection.sock is None:
        return
    connection.sock.settimeout(LITTLE_SECONDS)  # urllib3 sets it anew for each request
    until = time.monotonic() + LITTLE_SECONDS
    with suppress(HTTPError):
        while reply.raw.read1(LITTLE_BYTES) and time.monotonic() < until:
            pass


def _unreachable(error: requests.RequestException | HTTPError) -> Transient:
    cause = error.args[0] if error.args else None
    if isinstance(getattr(cause, "reason", None), NameResolutionError):
        return UrlGone("file_unreachable", "the file's host has no address (any more)")
    return Transient("file_unreachable", f"no answer from the file's host ({type(error).__name__})")


def _refused(reply: requests.Response) -> Transient:
    said = f"the file's URL answered with HTTP {reply.status_code}"
    if reply.status_code in GONE:
        is_not_found = reply.status_code == requests.codes.not_found
        return UrlGone("file_unavailable", said, is_not_found=is_not_found)
    sent = date_of(reply.headers.get("Date")) or datetime.now(UTC)
    wait = retry_after(reply.headers.get("Retry-After"), sent)
    return Transient("file_unavailable", said, retry_after=wait)


def _take_location(
    locations: list[str], reply: requests.Response, *_: object, **__: object
) -> None:
    """Note where a redirect leads, and keep that from requests.

    It would read the whole body first, though it must not follow, and raises where that is no URL.
    """
    if reply.is_redirect:
        locations.append(reply.headers.pop("Location"))


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location.encode("latin-1").decode())  # headers come as Latin-1
    except ValueError:
        raise Transient("file_unavailable", "the file's host redirects to no URL") from None
