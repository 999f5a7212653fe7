"""Fetch: the bytes behind a URL come to a part file, counted and hashed on their way."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError

from worker.errors import Permanent, Transient
from worker.transfer import hosts, replies
from worker.transfer.bounds import FULL, Bounds
from worker.transfer.guard import Guard
from worker.transfer.part import Origin, Part
from worker.transfer.session import FileSession

PIECE_BYTES = 256 << 10
MOST_REDIRECTS = 5
TIMEOUT_SECONDS = (10.0, 60.0)  # to connect; between two pieces

# What a server answers for a URL that has run out or a file that isn't there (any more).
GONE = frozenset({403, 404, 410})
OK, PARTIAL, UNSATISFIABLE = 200, 206, 416


class UrlGone(Transient):
    """The URL answers with no file: it ran out, or there never was one.

    Attributes:
        is_not_found: whether the answer was a plain 404.
    """

    def __init__(self, status: int) -> None:
        super().__init__("file_unavailable", f"the file's URL answered with HTTP {status}")
        self.args = (status,)  # what was given, or it could not be unpickled
        self.is_not_found = status == requests.codes.not_found


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched: how many bytes, and their SHA-256 in hex."""

    size_bytes: int
    sha256: str


def fetch(http: FileSession, url: str, part: Part, *, guard: Guard, bounds: Bounds) -> Fetched:
    """Have `part` hold the file behind `url`, in constant memory.

    What it holds already is gone on with, if the server proves that it is of the same file.

    Args:
        http: the session to ask through; it knows the hosts that are allowed, at each redirect.
        url: an http(s) URL.
        part: where the file comes; on an error it stays, to be gone on with, unless that makes no
            sense.
        guard: is told of each piece, and may stop the fetch.
        bounds: how large the file may be, and how much room it must find.

    Raises:
        UrlGone: 403, 404 or 410.
        Transient: any other failure, a body that differs from its declared length among them.
        Permanent: a URL that may not be fetched from, or a file that is too large.
    """
    with _writing(part):
        if part.origin and not _may_go_on(part, part.origin, url):
            part.begin(None)
        digest = part.digest(guard.check)
        if part.origin and part.size_bytes == part.origin.total_bytes:
            return Fetched(part.size_bytes, digest.hexdigest())  # only what comes then went wrong
        with http.interruptible(guard), closing(_ask(http, url, part)) as reply:
            if reply.status_code == OK:
                digest = hashlib.sha256()
            if reply.status_code != UNSATISFIABLE:  # else it is all there
                _receive(reply, url, part, digest, guard, bounds)
    return Fetched(part.size_bytes, digest.hexdigest())


def fetch_text(http: FileSession, url: str, *, guard: Guard, most_bytes: int) -> bytes:
    """Return the body behind `url`, of `most_bytes` at the most; raises as `fetch` does."""
    body = bytearray()
    with http.interruptible(guard), closing(_open(http, url)) as reply:
        for piece in _pieces(reply):
            guard.check()
            body += piece
            if len(body) > most_bytes:
                raise Transient("file_too_large", f"more than {most_bytes} bytes")
    return bytes(body)


def _receive(
    reply: requests.Response,
    url: str,
    part: Part,
    digest: "hashlib._Hash",
    guard: Guard,
    bounds: Bounds,
) -> None:
    """Add to the part what comes, all of it or, when the file is another by now, anew."""
    total = replies.total_bytes(reply)
    bounds.check_size(total or 0)
    if reply.status_code == OK:
        part.begin(_origin(reply, url, total))
    bounds.check_room(part.path.parent, (total or part.size_bytes) - part.size_bytes)
    for piece in _pieces(reply):
        bounds.check_size(part.size_bytes + len(piece))
        part.write(piece)
        digest.update(piece)
        guard.progress(part.size_bytes, total)
    if total is not None and part.size_bytes != total:
        raise _broken_off(f"{part.size_bytes} bytes came of {total} that were declared")


@contextmanager
def _writing(part: Part) -> Iterator[None]:
    """Name the setting where the disk does not take it, and keep no part that is of no use.

    One that fills the disk would keep all others from going on, and themselves as well.
    """
    try:
        yield
    except Permanent:
        part.discard()
        raise
    except Transient as error:
        if error.code == "scratch_full":
            part.discard()
        raise
    except OSError as error:
        if error.errno in FULL:
            part.discard()
            raise Transient(
                "scratch_full",
                f"SCRATCH_DIR was full after {part.size_bytes} bytes of the file; make room there",
            ) from error
        raise Transient(
            "scratch_unwritable", f"can't write to SCRATCH_DIR: {error.strerror}"
        ) from error


def _may_go_on(part: Part, origin: Origin, url: str) -> bool:
    whole = origin.total_bytes
    fits = whole is None or part.size_bytes <= whole
    return origin.url == _unsigned(url) and part.size_bytes > 0 and fits


def _origin(reply: requests.Response, url: str, total: int | None) -> Origin | None:
    """Return what the bytes of this reply are bytes of, if that will ever be told again."""
    validator = replies.validator(reply)
    return Origin(_unsigned(url), validator, total) if validator else None


def _unsigned(url: str) -> str:
    return urlunsplit((*urlsplit(url)[:3], "", ""))


def _ask(http: FileSession, url: str, part: Part) -> requests.Response:
    """Return the reply that brings what the part lacks: 206 the rest, 200 all, 416 nothing more."""
    if part.origin is not None and part.size_bytes:
        headers = {"Range": f"bytes={part.size_bytes}-", "If-Range": part.origin.validator}
        reply = _open(http, url, headers)
        if reply.status_code == OK or replies.goes_on(reply, part.origin, part.size_bytes):
            return reply
        reply.close()
    return _open(http, url)


def _open(
    http: FileSession, url: str, headers: Mapping[str, str] | None = None
) -> requests.Response:
    """Return the opened reply, having checked the host of every hop.

    Its status is 200, or an answer to the range that `headers` ask for. What requests raises ends
    here, `from None`: its texts hold the URL, which may be signed.
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
                headers={"Accept-Encoding": "identity", **(headers or {})},
                hooks={"response": partial(_take_location, locations)},
            )
        except (requests.RequestException, HTTPError) as error:  # urllib3's own get through too
            raise Transient(
                "file_unreachable", f"no answer from the file's host ({type(error).__name__})"
            ) from None
        if locations:
            reply.close()
            url = _joined(url, locations[0])
            continue
        if reply.status_code in ({OK, PARTIAL, UNSATISFIABLE} if headers else {OK}):
            return reply
        reply.close()
        if reply.status_code in GONE:
            raise UrlGone(reply.status_code)
        raise Transient(
            "file_unavailable", f"the file's URL answered with HTTP {reply.status_code}"
        )
    raise Transient("file_unavailable", f"more than {MOST_REDIRECTS} redirects")


def _pieces(reply: requests.Response) -> Iterator[bytes]:
    """Give what comes as soon as it comes, so that on a slow line progress is told all the same.

    requests' own way is to wait until a piece is full.
    """
    while True:
        try:
            piece = reply.raw.read1(PIECE_BYTES, decode_content=True)
        except HTTPError as error:
            raise _broken_off(f"the download broke off ({type(error).__name__})") from None
        if not piece:
            return
        yield piece


def _broken_off(why: str) -> Transient:
    return Transient("file_broken_off", why)


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
