"""Storage: where files end up, by URL; a folder or an object store, through obstore."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from worker.errors import Transient

# A part of an object; with 10,000 of them at the most, S3 takes files of 160 GB.
PART_BYTES = 16 << 20


class Storage:
    """The place that `url` names: `file:///…`, `s3://bucket/prefix`, `gs://…`, `az://…`.

    Credentials come from the environment, as each cloud's own tools read them. A folder is made
    when the first file is published.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._is_folder = url.lower().startswith("file:")

    def publish(self, content: Path | bytes, key: str, *, content_type: str) -> str:
        """Make `content` (a file's path, or bytes) appear under `key`, whole or not at all.

        Returns its URL. What was there under that key is replaced. In a folder it outlives a power
        cut from then on.

        Raises:
            Transient: the storage did not take it.
        """
        # a folder has no place to keep a content type; its files have their names
        attributes = None if self._is_folder else {"Content-Type": content_type}
        try:
            obstore.put(self._store(), key, content, attributes=attributes, chunk_size=PART_BYTES)
            if self._is_folder:
                self._settle(key)
        except (BaseError, OSError, ValueError) as error:  # the last: a key that leads elsewhere
            raise _refused("store the file", error) from error
        return f"{self._url}/{key}"

    def _settle(self, key: str) -> None:
        """Have the file and its name on the disk: obstore leaves both to the system's memory."""
        root = Path(unquote(urlsplit(self._url).path))
        path = root / key.lstrip("/")
        for each in (path, *path.relative_to(root).parents):
            descriptor = os.open(root / each, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

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
        if self._is_folder:
            return from_url(self._url, mkdir=True)
        return from_url(self._url)


def _refused(what: str, error: Exception) -> Transient:
    # obstore appends the innards of its error; they are for programmers, and hold whole URLs
    said = " ".join(str(error).partition("Debug source:")[0].split())[:300]
    return Transient("storage_unavailable", f"can't {what} (STORAGE_URL): {said}")
