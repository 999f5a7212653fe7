"""Digest: a part's SHA-256, made while the part is still growing."""

import errno
import hashlib
import os
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from worker.transfer.part import Part

READ_BYTES = 1 << 20
LOOK_SECONDS = 0.1
# What is no longer than this is hashed by whoever waits for it: it is not worth a thread.
SMALL_BYTES = 4 << 20
# Pieces that came a little ahead of what is hashed are kept for that, so many bytes of them.
KEPT_BYTES = 8 << 20


class Digest:
    """Hashes what is there of `part`, up to the first byte that is lacking.

    It does so in a thread of its own, unless the part is small. SHA-256 takes the bytes in their
    order, and they come in any. Those that just came are hashed as they came; the others are read
    again.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._generation = part.generation
        self._sha256 = hashlib.sha256()
        self._at = 0
        self._kept: dict[int, memoryview] = {}
        self._buffer: memoryview | None = None
        self._lock = Lock()
        self._grown = Event()
        self._error: Exception | None = None
        self._is_complete = Event()
        self._is_left = Event()
        self._is_begun = False
        self._thread = Thread(target=self._run, name=f"digest-{part.path.stem}", daemon=True)

    def __enter__(self) -> Self:
        self._part.listeners.append(self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._part.listeners.remove(self._hear)
        self._is_left.set()
        self._grown.set()
        if self._is_begun:
            self._thread.join()

    @property
    def size_bytes(self) -> int:
        """How many bytes are in it by now."""
        return self._at

    def finish(self, check: Callable[[], None]) -> str:
        """Return the SHA-256 in hex of all that is there by now.

        Args:
            check: is called every now and then, and may raise.

        Raises:
            OSError: the part can't be read.
        """
        self._is_complete.set()
        self._grown.set()
        if self._part.size_bytes > SMALL_BYTES:
            self._begin()
        elif not self._is_begun:
            self._run()
        while self._thread.is_alive():
            check()
            self._thread.join(LOOK_SECONDS)
        if self._error is not None:
            raise self._error
        return self._sha256.hexdigest()

    def _hear(self, at: int, piece: memoryview) -> None:
        with self._lock:
            self._keep_up()
            if self._at <= at and at + len(piece) <= self._at + KEPT_BYTES:
                self._kept[at] = piece
        self._grown.set()
        if at + len(piece) > SMALL_BYTES:
            self._begin()

    def _begin(self) -> None:
        """Have the thread run, once."""
        with self._lock:
            if not self._is_begun:
                self._thread.start()
                self._is_begun = True

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001  (for the one who waits)
            self._error = error

    def _follow(self) -> None:
        while not self._is_left.is_set():
            self._grown.clear()
            is_complete = self._is_complete.is_set()  # before it is seen how much is there
            with self._lock:
                self._keep_up()
                generation, at, sha256 = self._generation, self._at, self._sha256
                piece = self._kept.get(at)
            piece = self._read(at, generation) if piece is None else piece
            if piece:
                sha256.update(piece)
                self._move(at + len(piece), generation)
            elif is_complete:
                return
            else:
                self._grown.wait(LOOK_SECONDS)

    def _read(self, at: int, generation: int) -> memoryview:
        """Return the bytes from `at` on that are there, as far as the buffer goes."""
        ready = min(self._part.prefix_bytes - at, READ_BYTES)
        if ready <= 0:
            return memoryview(b"")
        if self._buffer is None:  # it takes as long to make as a small file to hash
            self._buffer = memoryview(bytearray(READ_BYTES))
        buffer = self._buffer
        size = self._part.read(at, buffer[:ready])
        if size == 0 and generation == self._part.generation:
            raise OSError(errno.EIO, os.strerror(errno.EIO))  # somebody has cut it off
        return buffer[:size]

    def _move(self, at: int, generation: int) -> None:
        with self._lock:
            if generation == self._generation:
                self._at = at
                self._kept = {start: piece for start, piece in self._kept.items() if start >= at}

    def _keep_up(self) -> None:
        """Begin anew if the part was begun anew."""
        if self._generation != self._part.generation:
            self._generation = self._part.generation
            self._sha256, self._at = hashlib.sha256(), 0
            self._kept.clear()
