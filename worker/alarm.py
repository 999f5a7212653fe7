"""Alarm: when this worker's own timer is to wake a step.

No message waits in the broker, or unacknowledged in a worker's hands, for a time to come. A step
says when it wants to be woken; the worker's main process looks at that every moment and sends the
message when it is due. One time a step is enough, since each step takes whatever is due. What a
dying worker forgets, every other's sweep remembers from SQL.
"""

from datetime import UTC, datetime
from multiprocessing.sharedctypes import RawValue
from typing import Any

from worker.steps import Step

_OFF = 0.0


class Alarm:
    """One time a step, shared by a worker's main process and the children that it forks.

    The values have no lock: a child that is killed while it holds one would stop the timer of the
    whole worker. Two that set a time at once may lose the earlier; the sweep makes up for it.
    """

    def __init__(self) -> None:
        self._times: dict[Step, Any] = {step: RawValue("d", _OFF) for step in Step}

    def set(self, step: Step, at: datetime) -> None:
        """Have `step` woken at `at`, or earlier if that is set already."""
        time = self._times[step]
        wanted = at.timestamp()
        if time.value == _OFF or wanted < time.value:
            time.value = wanted

    def due(self, now: datetime) -> list[Step]:
        """Return the steps whose time has come, and forget their times."""
        ringing = [s for s, time in self._times.items() if _OFF < time.value <= now.timestamp()]
        for step in ringing:
            self._times[step].value = _OFF
        return ringing

    def next(self, step: Step) -> datetime | None:
        """Return when `step` is to be woken, or None."""
        value = self._times[step].value
        return None if value == _OFF else datetime.fromtimestamp(value, UTC)
