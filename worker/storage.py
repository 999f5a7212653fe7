"""Storage: where files end up, by URL; a folder or an object store."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from types import MappingProxyType
from typing import BinaryIO
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from worker.errors import Transient
from worker.folder import Folder

# A part of an object. S3 takes 10,000 of them at the most, and so does GCS' XML API.
PART_BYTES = 16 << 20
MOST_PARTS = 9_000
# Parts on their way at the same time: this many are in memory, and one more.
PARTS_AT_ONCE = 4
READ_BYTES = 1 << 20
LOOK_SECONDS = 0.2
# How long an upload that is stopped is given to take itself back.
STOP_SECONDS = 1.0
MOST_KEY_BYTES = 1024  # S3's bound; a folder's own bound is for each name


class _Stopped(Exception):  # noqa: N818  (not a failure)
    """The upload is to take itself back."""


class Storage:
    """The place that `url` names: `file:///…`, `s3://bucket/prefix`, `gs://…`, `az://…`.

    Credentials come from the environment, as each cloud's own tools read them. A folder is made
    when the first file is published.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        parts = urlsplit(self._url)
        is_folder = parts.scheme == "file" and not parts.netloc
        self._folder = Folder(Path(unquote(parts.path))) if is_folder else None

    def publish(
        self,
        content: Path | bytes,
        key: str,
        *,
        content_type: str,
        check: Callable[[], None],
        metadata: Mapping[str, str] = MappingProxyType({}),
        is_ours: bool = False,
    ) -> str:
        """Make `content` (a file's path, or bytes) appear under `key`, whole or not at all.

        Returns its URL. What was there under that key is replaced. In a folder it outlives a power
        cut from then on. Memory holds a few parts of it at the most.

        Args:
            content: what is to appear.
            key: its name below the storage's URL.
            content_type: what it is, for stores that keep that; files have their names.
            check: is called every now and then, the last time just before it appears, and may
                raise to stop that.
            metadata: what else is to be kept with it, in stores that can.
            is_ours: whether the file may be moved away, as nobody needs it any more where it is.

        Raises:
            Transient: the storage did not take it.
        """
        try:
            _check_key(key)
            folder = self._folder if is_ours else None
            if folder and isinstance(content, Path) and folder.move_in(content, key, check):
                return f"{self._url}/{key}"
            with content.open("rb") if isinstance(content, Path) else BytesIO(content) as source:
                size = content.stat().st_size if isinstance(content, Path) else len(content)
                if self._folder:
                    self._folder.publish(source, key, check)
                else:
                    attributes = {"Content-Type": content_type, **metadata}
                    self._upload(source, size, key, attributes, check)
        except (BaseError, OSError, ValueError) as error:  # the last: a key that leads elsewhere
            raise _refused("store the file", error) from error
        return f"{self._url}/{key}"

    def _upload(
        self,
        source: BinaryIO,
        size: int,
        key: str,
        attributes: Mapping[str, str],
        check: Callable[[], None],
    ) -> None:
        """Put the object from a thread of its own, so that a store that hangs keeps nobody here.

        One that is left behind hears of it at its next part, and obstore takes back what it has
        uploaded; if it had all parts, the object may still appear, and is whole.
        """
        stopped, done = Event(), Future[None]()

        def go_on() -> None:
            if stopped.is_set():
                raise _Stopped
            check()

        def put() -> None:
            try:
                self._put(source, size, key, attributes, go_on)
            except BaseException as error:  # noqa: BLE001  (for the one who waits)
                done.set_exception(error)
            else:
                done.set_result(None)

        check()
        Thread(target=put, name=f"upload-{key}", daemon=True).start()
        try:
            while not wait([done], LOOK_SECONDS).done:
                check()
        except BaseException:
            stopped.set()
            wait([done], STOP_SECONDS)
            raise
        done.result()

    def _put(
        self,
        source: BinaryIO,
        size: int,
        key: str,
        attributes: Mapping[str, str],
        go_on: Callable[[], None],
    ) -> None:
        part_bytes = max(PART_BYTES, size // MOST_PARTS)
        # a small one goes in one call, and no part of it can be left lying about
        content = source.read() if size <= PART_BYTES else _pieces(source, part_bytes, go_on)
        obstore.put(
            self._store(),
            key,
            content,
            attributes=dict(attributes),
            chunk_size=part_bytes,
            max_concurrency=PARTS_AT_ONCE,
        )

    def probe(self) -> None:
        """Write an object of a few bytes and delete it again.

        Raises:
            Transient: it can't be written to; the message says why.
        """
        key = f".uplynk-export-probe-{uuid4().hex}"
        try:
            store = self._store()
            obstore.put(store, key, b"probe")
            obstore.delete(store, key)
        except (BaseError, OSError, ValueError) as error:
            raise _refused("write to it", error) from error

    def _store(self) -> obstore.store.ObjectStore:
        # cheap to make, and a store of obstore's does not outlive a fork
        if self._folder:
            return from_url(self._url, mkdir=True)
        return from_url(self._url)


def read(url: str) -> Iterator[bytes]:
    """Give what is stored under a URL that `Storage.publish` returned, piece by piece.

    Raises:
        FileNotFoundError: nothing is.
        Transient: it can't be read.
    """
    parts = urlsplit(url)
    try:
        if parts.scheme == "file":
            with Path(unquote(parts.path)).open("rb") as file:
                while piece := file.read(READ_BYTES):
                    yield piece
            return
        place, _, name = url.rpartition("/")
        for chunk in obstore.get(from_url(place), unquote(name)).stream(min_chunk_size=READ_BYTES):
            yield bytes(chunk)
    except FileNotFoundError:  # obstore's own is one of these
        raise
    except (BaseError, OSError, ValueError) as error:
        raise _refused("read the file", error) from error


def _pieces(source: BinaryIO, size: int, go_on: Callable[[], None]) -> Iterator[bytes]:
    """Give the parts; `go_on` is asked once more before there are none, which completes it."""
    go_on()
    while piece := source.read(size):
        yield piece
        go_on()


def _check_key(key: str) -> None:
    """See that nothing but names below the storage's URL can be meant, to any store.

    Raises:
        ValueError: something else could.
    """
    names = key.split("/")
    if not {"", ".", ".."}.isdisjoint(names) or "\\" in key or not key.isprintable():
        raise ValueError("the key is no plain relative path")
    if len(key.encode(errors="surrogateescape")) > MOST_KEY_BYTES:
        raise ValueError(f"the key has more than {MOST_KEY_BYTES} bytes")


def _refused(what: str, error: Exception) -> Transient:
    # obstore appends the innards of its error; they are for programmers, and hold whole URLs
    said = " ".join(str(error).partition("Debug source:")[0].split())[:300]
    return Transient("storage_unavailable", f"can't {what} (STORAGE_URL): {said}")
