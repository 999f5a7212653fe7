"""Storm: the events of a schedule come over the world, each at its time."""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count

from tests.chaos.events import EVENTS, Later
from tests.chaos.schedule import Event
from tests.chaos.world import World

TICK_SECONDS = 0.1


@dataclass(slots=True)
class Storm:
    """Carries out a schedule.

    Attributes:
        world: what it comes over.
        schedule: what is to happen.
        struck: how many events of each kind did strike.
        missed: how many found nothing to strike, as the worker was dead or the service away.
        timeline: when each event came, and whether it struck.
    """

    world: World
    schedule: Sequence[Event]
    struck: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    timeline: list[str] = field(default_factory=list)

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
        came = datetime.now(UTC).isoformat()
        laters = EVENTS[event.kind](self.world, event)
        (self.missed if laters is None else self.struck)[event.kind] += 1
        self.timeline.append(f"{came} {'missed: ' if laters is None else ''}{event}")
        return laters or ()
