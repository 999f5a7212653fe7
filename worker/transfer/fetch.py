"""Fetch: the bytes behind a URL come to a file, counted and hashed on their way."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urljoin

import requests
from urllib3.exceptions import HTTPError

from worker.errors import Transient
from worker.transfer import hosts

PIECE_BYTES = 256 << 10
MOST_REDIRECTS = 5
MOST_LENGTH_DIGITS = 18  # what a database keeps as a whole number
TIMEOUT_SECONDS = (10.0, 60.0)  # to connect; between two pieces

# What a server answers for a URL that has run out or a file that isn't there (any more).
GONE = frozenset({403, 404, 410})


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


def fetch(
    http: requests.Session,
    url: str,
    path: Path,
    *,
    allowed: Collection[str],
    progress: Callable[[int, int | None], None],
) -> Fetched:
    """Bring the file behind `url` to `path`, in constant memory.

    Args:
        http: the session to ask through.
        url: an http(s) URL on an allowed host; so must be each redirect's.
        path: a file that is made anew; on an error it stays as it is for the caller to remove.
        allowed: the hosts that files may come from.
        progress: called after each piece with the bytes so far, and all of them if the server
            declared how many; it may raise to stop the fetch.

    Raises:
        UrlGone: 403, 404 or 410.
        Transient: any other failure, a body that differs from its declared length among them.
        Permanent: a host that is not allowed.
    """
    with closing(_open(http, url, allowed)) as reply:
        declared = _declared(reply)
        digest = hashlib.sha256()
        size = 0
        try:
            with path.open("wb") as file:
                for piece in _pieces(reply):
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
                    progress(size, declared)
        except HTTPError as error:
            raise Transient(
                "file_broken_off",
                f"the download broke off after {size} bytes ({type(error).__name__})",
            ) from None
        except OSError as error:
            raise Transient(
                "scratch_unwritable", f"can't write to SCRATCH_DIR: {error.strerror}"
            ) from error
    if declared is not None and declared != size:
        raise Transient("file_broken_off", f"{size} bytes came of {declared} that were declared")
    return Fetched(size, digest.hexdigest())


def fetch_text(
    http: requests.Session, url: str, *, allowed: Collection[str], most_bytes: int
) -> bytes:
    """Return the body behind `url`, of `most_bytes` at the most; raises as `fetch` does."""
    with closing(_open(http, url, allowed)) as reply:
        try:
            body = bytearray()
            for piece in _pieces(reply):
                body += piece
                if len(body) > most_bytes:
                    raise Transient("file_too_large", f"more than {most_bytes} bytes")
        except HTTPError as error:
            raise Transient("file_broken_off", f"broke off ({type(error).__name__})") from None
    return bytes(body)


def _open(http: requests.Session, url: str, allowed: Collection[str]) -> requests.Response:
    """Return the opened reply with status 200, having checked the host of every hop.

    What requests raises ends here, `from None`: its texts hold the URL, which may be signed.
    """
    for _ in range(MOST_REDIRECTS + 1):
        hosts.check(url, allowed)
        locations: list[str] = []
        try:
            reply = http.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=TIMEOUT_SECONDS,
                headers={"Accept-Encoding": "identity"},  # lengths and hashes are the file's own
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
        if reply.status_code == requests.codes.ok:
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
    while piece := reply.raw.read1(PIECE_BYTES, decode_content=True):
        yield piece


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


def _declared(reply: requests.Response) -> int | None:
    """Return how many bytes will come, if the server says; of an encoded body it can't."""
    encoding = reply.headers.get("Content-Encoding", "identity")
    if encoding != "identity" or "Transfer-Encoding" in reply.headers:
        return None
    length = reply.headers.get("Content-Length", "")
    fits = length.isascii() and length.isdigit() and len(length) <= MOST_LENGTH_DIGITS
    return int(length) if fits else None
