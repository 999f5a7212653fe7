"""Slots: how many of a worker's places are taken by one kind of step at once.

Where a worker serves both queues, one place of its pool stays free of downloads, so that the short
steps always go on. Of those, the ones in which others may be slow take some places at the most.
Half of them ask Uplynk for exports, and half how jobs are, but one of three or more stays free of
both; captions are asked for, a CMS is told, and what is old is deleted, in one each.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from weakref import finalize

_NO_LIMIT = 0


class Slots:
    """A limit that holds over a worker's threads or forked children.

    A slot is a locked file: the kernel frees it when its holder dies, however it dies.

    Args:
        limit: how many there are.
        within: slots of which whoever holds one of these holds one as well.
    """

    def __init__(self, *, limit: int = _NO_LIMIT, within: "Slots | None" = None) -> None:
        self._within = within
        self._folder = Path(mkdtemp(prefix="uplynk-export-"))
        finalize(self, rmtree, self._folder, ignore_errors=True)
        self._count = RawValue("i", limit)

    def limit(self, count: int) -> None:
        """Let `count` hold a slot at the same time, from now on."""
        self._count.value = count

    @contextmanager
    def one(self) -> Iterator[bool]:
        """Hold a slot if one is free; gives whether it is held."""
        with ExitStack() as held:
            may_be = self._within is None or held.enter_context(self._within.one())
            is_held = may_be and held.enter_context(self._one_of_these())
            if not is_held:
                held.close()  # what is of no use alone
            yield is_held

    @contextmanager
    def _one_of_these(self) -> Iterator[bool]:
        if self._count.value == _NO_LIMIT:
            yield True
            return
        self._folder.mkdir(exist_ok=True)  # whoever tidies up temporary folders may have taken it
        for number in range(self._count.value):
            with (self._folder / str(number)).open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield True
                return
        yield False
