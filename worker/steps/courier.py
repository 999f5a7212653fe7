"""Courier: brings notifications to their receivers side by side, and waits for none that hangs.

What is under way is in threads of its own, which outlast the message that began it: no place in a
worker's pool is held by a receiver that is slow. A receiver has one at a time until it has answered
well, and then more; one that does not answer at all is left alone for a while.
"""

from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Condition

from worker.errors import Stopping, Undelivered

# So many are under way at once, and so many of them to one receiver.
MOST_AT_ONCE = 32
MOST_PER_RECEIVER = 8
# For so long at the most a receiver is left alone.
LONGEST_REST = timedelta(minutes=5)
# A message waits so long for the next to be delivered.
LINGER_SECONDS = 0.5

# What became of a notification: it was delivered, unless there is an error.
Outcome = Undelivered | Stopping | None
# What delivers one; it returns its outcome, and until when the receiver is left alone after it.
Work = Callable[[], tuple[Outcome, datetime | None]]

_UNKNOWN = Stopping()


@dataclass(slots=True)
class _Lane:
    """What is known of a receiver.

    Attributes:
        busy: how many are under way to it.
        allowed: how many may be.
        rests_until: until when it is left alone.
    """

    busy: int = 0
    allowed: int = 1
    rests_until: datetime | None = None


class Courier:
    """What this process has under way to receivers.

    Args:
        lingers_seconds: how long a message waits for the next to be delivered.
    """

    def __init__(self, *, lingers_seconds: float = LINGER_SECONDS) -> None:
        self._lingers_seconds = lingers_seconds
        self._lanes: dict[str, _Lane] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._landed = Counter[bool]()
        self._changed = Condition()

    def room(self, receivers: Collection[str], *, now: datetime) -> dict[str, int]:
        """Return how many more may be on their way to each of these, where any may."""
        with self._changed:
            left = MOST_AT_ONCE - sum(lane.busy for lane in self._lanes.values())
            rooms: dict[str, int] = {}
            for name in receivers:
                lane = self._lanes.get(name, _Lane())
                if lane.rests_until is None or lane.rests_until <= now:
                    rooms[name] = max(min(lane.allowed - lane.busy, left), 0)
                    left -= rooms[name]
            return {name: room for name, room in rooms.items() if room}

    def free_at(self, receivers: Collection[str], *, now: datetime) -> datetime:
        """Return when the first of these is not to be left alone any more; now if one is not."""
        with self._changed:
            lanes = [self._lanes.get(name, _Lane()) for name in receivers]
        return min((max(lane.rests_until or now, now) for lane in lanes), default=now)

    def bring(self, receiver: str, work: Work) -> None:
        """Have `work` done, in a thread."""
        with self._changed:
            self._lanes.setdefault(receiver, _Lane()).busy += 1
            if self._pool is None:
                self._pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="courier")
            # in a context like this one: what it logs names this task too
            self._pool.submit(copy_context().run, self._do, receiver, work)

    def wait(self) -> Counter[bool]:
        """Return how many were delivered, and not, since this was last asked.

        It waits a moment for the first; there is none if nothing is under way, or all of it hangs.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._landed or not self._is_busy, timeout=self._lingers_seconds
            )
            landed, self._landed = self._landed, Counter[bool]()
            return landed

    def leave(self, cut: Callable[[], None], *, seconds: float) -> None:
        """Give back what is under way, as far as that is done within so many seconds.

        Args:
            cut: ends whatever is sent just now.
            seconds: how long that may take.
        """
        cut()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_busy, timeout=seconds)

    @property
    def _is_busy(self) -> bool:
        return any(lane.busy for lane in self._lanes.values())

    def _do(self, receiver: str, work: Work) -> None:
        outcome: Outcome = _UNKNOWN
        rests_until: datetime | None = None
        try:
            outcome, rests_until = work()
        finally:
            with self._changed:
                self._learn(self._lanes[receiver], outcome, rests_until)
                self._changed.notify_all()

    def _learn(self, lane: _Lane, outcome: Outcome, rests_until: datetime | None) -> None:
        lane.busy -= 1
        if outcome is None:
            lane.allowed, lane.rests_until = min(2 * lane.allowed, MOST_PER_RECEIVER), None
        elif isinstance(outcome, Undelivered):
            lane.allowed = 1
            lane.rests_until = rests_until or lane.rests_until
        if not isinstance(outcome, Stopping):
            self._landed[outcome is None] += 1
