"""Fetch: the bytes behind a URL come to a part file, counted and hashed on their way."""

import errno
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from threading import Event, Lock, Thread
from urllib.parse import urlsplit, urlunsplit

import requests

from worker.errors import Permanent, Transient
from worker.transfer import ask, replies
from worker.transfer.ask import UrlGone
from worker.transfer.bounds import FULL, Bounds
from worker.transfer.digest import Digest
from worker.transfer.guard import Guard
from worker.transfer.manner import Manner
from worker.transfer.part import SYNC_BYTES, Origin, Part
from worker.transfer.session import FileSession
from worker.transfer.stall import Floor, Meter
from worker.transfer.streams import Streams

__all__ = ["Fetched", "UrlGone", "fetch", "fetch_text"]

SYNC_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched: how many bytes, and their SHA-256 in hex."""

    size_bytes: int
    sha256: str


def fetch(
    http: FileSession, url: str, part: Part, *, guard: Guard, bounds: Bounds, manner: Manner
) -> Fetched:
    """Have `part` hold the file behind `url`, in constant memory.

    What it holds already is gone on with, if the server proves that it is of the same file. A large
    file comes by several streams, if its server knows ranges and that is faster.

    Args:
        http: the session to ask through; it knows the hosts that are allowed, at each redirect.
        url: an http(s) URL.
        part: where the file comes; on an error it stays, to be gone on with, unless that makes no
            sense.
        guard: is told of each piece, from several threads, and may stop the fetch.
        bounds: how large the file may be, and how much room it must find.
        manner: how it is fetched.

    Raises:
        UrlGone: 403, 404 or 410, or a host without an address.
        Transient: any other failure, a body that differs from its declared length among them.
        Permanent: a URL that may not be fetched from, or a file that is too large.
    """
    with _writing(part):
        if part.origin and not _may_go_on(part, part.origin, url):
            part.begin(None)
        with _synced(part), Digest(part) as digest:
            # if it is all there, only what comes afterwards went wrong
            if part.origin is None or part.size_bytes != part.origin.total_bytes:
                with http.interruptible(guard):
                    _receive(http, url, part, guard=guard, bounds=bounds, manner=manner)
            sha256 = digest.finish(guard.check)
            if digest.size_bytes != part.size_bytes:
                raise ask.broken_off("some of the file's bytes are lacking")
            return Fetched(part.size_bytes, sha256)


def fetch_text(
    http: FileSession, url: str, *, guard: Guard, most_bytes: int, floor: Floor
) -> bytes:
    """Return the body behind `url`, of `most_bytes` at the most; raises as `fetch` does."""
    body, meter = bytearray(), Meter(floor)
    with http.interruptible(guard), closing(ask.whole(http, url)) as reply:
        for piece in ask.pieces(reply):
            guard.check()
            meter.add(len(piece))
            body += piece
            if len(body) > most_bytes:
                raise Transient("file_too_large", f"more than {most_bytes} bytes")
    return bytes(body)


def _receive(
    http: FileSession, url: str, part: Part, *, guard: Guard, bounds: Bounds, manner: Manner
) -> None:
    """Add to the part what it lacks; or all of the file anew, if it is another by now."""
    with closing(_first(http, url, part)) as reply:
        if reply.status_code == ask.UNSATISFIABLE:  # it is all there
            return
        total = replies.total_bytes(reply)
        bounds.check_size(total or 0)
        if reply.status_code == ask.OK:
            part.begin(_origin(reply, url, total))
        bounds.check_room(part.path.parent, (total or part.size_bytes) - part.size_bytes)
        with Streams(http, url, part, total, guard=guard, bounds=bounds, manner=manner) as streams:
            streams.bring(reply)
    if total not in {None, part.size_bytes}:
        raise ask.broken_off(f"{part.size_bytes} bytes came of {total} that were declared")


@contextmanager
def _synced(part: Part) -> Iterator[None]:
    """Have what comes on the disk every now and then, without those waiting who bring it.

    That takes a thread, once there is so much that it is worth one.

    Raises:
        OSError: the disk did not take it; nothing of the part is of use then.
    """
    over, errors, lock = Event(), list[OSError](), Lock()

    def keep() -> None:
        try:
            while not over.wait(SYNC_SECONDS):
                part.sync()
        except OSError as error:
            errors.append(error)

    thread = Thread(target=keep, name=f"sync-{part.path.stem}", daemon=True)

    def hear(_at: int, _piece: memoryview) -> None:
        if thread.ident is None and part.unsynced_bytes >= SYNC_BYTES:
            with lock:
                if thread.ident is None:
                    thread.start()

    part.listeners.append(hear)
    try:
        yield
    finally:
        part.listeners.remove(hear)
        over.set()
        if thread.ident is not None:
            thread.join()
    if errors:
        raise errors[0]
    # the last of it is not worth a note: it is read back and published within moments
    part.sync(least_bytes=1, is_noted=False)


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
        if error.errno == errno.EIO:
            part.discard()  # what can't be read or written now won't be the next time
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
    """Return whether the server may be asked for what is lacking.

    Also behind another URL: the job's may be signed anew, or lead elsewhere. If-Range and the
    length are what proves that the file is the same.
    """
    total = origin.total_bytes
    fits = total is None or part.size_bytes <= total
    return part.size_bytes > 0 and fits and (total is not None or origin.url == _unsigned(url))


def _origin(reply: requests.Response, url: str, total: int | None) -> Origin | None:
    """Return what the bytes of this reply are bytes of, if that will ever be told again."""
    validator = replies.validator(reply)
    return Origin(_unsigned(url), validator, total) if validator else None


def _unsigned(url: str) -> str:
    return urlunsplit((*urlsplit(url)[:3], "", ""))


def _first(http: FileSession, url: str, part: Part) -> requests.Response:
    """Return the reply that brings what the part lacks first.

    That is 206 for a gap, 200 for all of the file, 416 where nothing is lacking.
    """
    if part.origin is not None and part.size_bytes:
        start, end = part.gaps(part.origin.total_bytes)[0]
        end = None if end == part.origin.total_bytes else end
        reply = ask.span(http, url, part.origin, start, end)
        if reply.status_code == ask.OK or replies.goes_on(reply, part.origin, start):
            return reply
        reply.close()
    return ask.whole(http, url)
