"""Lanes: how many streams all downloads of this machine may have from one host."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker import held

_UNSAFE = re.compile(r"[^a-z0-9.-]")


@dataclass(frozen=True, slots=True)
class Lanes:
    """The streams beyond the first of each download, shared by all processes that see `folder`.

    Each is a file that is locked for as long as the stream lasts: the kernel gives it back if its
    owner dies.

    Attributes:
        folder: where the files are; it is there.
        most: how many there are for each host.
    """

    folder: Path
    most: int

    @contextmanager
    def one(self, host: str) -> Iterator[bool]:
        """Have a lane to `host` for as long as the context lasts; gives whether one was free."""
        for number in range(self.most):
            path = self.folder / f"{_UNSAFE.sub('_', host.lower())}.{number}.lane"
            try:
                file = held.take(path) or held.make(path, waits=False)
            except OSError:  # it is another's, or nothing can be made here: then not one more
                continue
            with file:
                try:
                    yield True
                finally:
                    path.unlink(missing_ok=True)
            return
        yield False
