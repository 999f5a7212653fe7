"""Storm: the events of a schedule come over the world, each at its time."""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count

from tests.chaos.events import EVENTS, Later
from tests.chaos.schedule import Event
from tests.chaos.world import World

TICK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Strike:
    """That an event came at a time, and whether it found anything to strike."""

    at: datetime
    event: Event
    has_struck: bool

    def __str__(self) -> str:
        return f"{self.at.isoformat()} {self.event}{'' if self.has_struck else ', in vain'}"


@dataclass(slots=True)
class Storm:
    """Carries out a schedule.

    Attributes:
        world: what it comes over.
        schedule: what is to happen.
        strikes: what has happened so far.
    """

    world: World
    schedule: Sequence[Event]
    strikes: list[Strike] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Let the storm rage for so many seconds; whoever ends unasked is noted and replaced."""
        begin = time.monotonic()
        number = count()
        due: list[tuple[float, int, Callable[[], object]]] = []

        def put(at: float, action: Callable[[], object]) -> None:
            heapq.heappush(due, (at, next(number), action))

        def strike(event: Event) -> None:
            for wait, action in self._strike(event):
                put(time.monotonic() - begin + wait, action)

        for event in self.schedule:
            put(event.at, partial(strike, event))
        while (now := time.monotonic() - begin) < seconds:
            self.world.fleet.look()
            while due and due[0][0] <= now:
                heapq.heappop(due)[2]()
            time.sleep(TICK_SECONDS)

    def _strike(self, event: Event) -> Sequence[Later]:
        """Let an event happen, and note it; returns what it has happen later."""
        came = datetime.now(UTC)
        laters = EVENTS[event.kind](self.world, event)
        self.strikes.append(Strike(came, event, has_struck=laters is not None))
        return laters or ()
