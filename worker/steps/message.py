"""Message: what the lanes of one submission have done so far, and how much more they may do."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.exc import SQLAlchemyError

from models import Export
from worker.steps import upcoming
from worker.steps.asking import give_back
from worker.steps.kit import Kit
from worker.steps.report import Report, Wake
from worker.transfer.patience import Patience

# One message works off about this many; then it makes room for others, and is sent again.
MOST_AT_ONCE = 20
# So many are claimed together at the most, where Uplynk answers fast: to claim one costs more than
# to ask for it.
MOST_TOGETHER = 8

# So many exports are named in its task's result.
MOST_TOLD = 5


class Message:
    """What the lanes of one submission have done so far, and how much more they may do."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._patience = Patience(kit.crew.step_seconds, kit.stopping)
        self._begun = dict[object, float]()  # of what is being asked, when
        self._claimed = deque[tuple[float, Export]]()  # when, and not asked for yet
        self._took_seconds: float | None = None  # what Uplynk took last
        self._over_at: float | None = None  # when it was enough
        self.failed = list[BaseException]()  # what lanes raised, and who has them work
        self.is_throttled = False
        self.vain = set[upcoming.Take]()  # what has just taken nothing
        self.asked = list[str]()
        self.wakes = list[Wake]()

    @property
    def _is_to_stop(self) -> bool:
        kit = self._kit
        has_to = kit.stopping() or kit.circuit.is_open
        return has_to or self.is_throttled or bool(self.failed)

    @property
    def has_claimed(self) -> bool:
        """Whether something is claimed that is to be asked for."""
        return bool(self._claimed) and not self._is_to_stop

    def may_go_on(self) -> bool:
        """Return whether more may be claimed."""
        if self._is_to_stop:
            return False
        if len(self.asked) < MOST_AT_ONCE and not self._patience.is_over:
            return True
        now = time.monotonic()
        self._over_at = self._over_at or now
        # a call that hangs keeps the message from its end: then the others go on; but not for one
        # that was begun only meanwhile
        since = min(self._over_at, now - self._kit.crew.late_seconds)
        return any(begun < since for begun in list(self._begun.values()))

    def look_again(self) -> None:
        """Forget what could not be done a while ago."""
        self.vain.clear()
        self.is_throttled = False

    def together(self) -> int:
        """Return how many are to be claimed at once."""
        if self._took_seconds is None:  # nobody knows how fast Uplynk answers
            return 1
        crew = self._kit.crew
        at_once = crew.ahead_seconds * crew.lanes / self._took_seconds
        return max(int(min(at_once, MOST_TOGETHER, MOST_AT_ONCE - len(self.asked))), 1)

    def claimed(self, exports: list[Export]) -> None:
        """Have these be asked for by whichever lane is free first."""
        now = time.monotonic()
        self._claimed.extend((now, export) for export in exports)

    def next_claimed(self) -> Export | None:
        """Return what is to be asked for next of what is claimed."""
        if not self.has_claimed:
            return None
        with suppress(IndexError):  # another lane has just taken the last one
            return self._claimed.popleft()[1]
        return None

    def give_back(self, *, has_ended: bool = False) -> None:
        """Have what can't be asked for soon be asked for by another message.

        The lanes hang, or this message is to stop, or has ended. What can't be given back either is
        looked for when its claim runs out.
        """
        late = time.monotonic() - self._kit.crew.late_seconds
        with suppress(SQLAlchemyError, IndexError):  # there is none
            while has_ended or self._is_to_stop or self._claimed[0][0] <= late:
                _, export = self._claimed.popleft()
                give_back(self._kit, export, "its turn did not come")
                self.vain.discard(upcoming.requested)

    def asked_well(self, seconds: float | None) -> None:
        """Note how long it took to ask for one; None where Uplynk did not take it."""
        self._took_seconds = seconds and max(seconds, 1e-6)

    @contextmanager
    def asking(self, export: Export) -> Iterator[None]:
        """Note that this export is being asked for, or looked for."""
        self.asked.append(str(export.id))
        call = object()
        self._begun[call] = time.monotonic()
        try:
            yield
        finally:
            del self._begun[call]

    def told(self) -> Report:
        """Return what is to be told of it."""
        facts = {"took": len(self.asked), "exports": self.asked[:MOST_TOLD]}
        return Report(facts, tuple(self.wakes), took=len(self.asked))
