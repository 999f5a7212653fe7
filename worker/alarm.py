"""Alarm: when this worker's own timer is to wake a step.

No message waits in the broker, or unacknowledged in a worker's hands, for a time to come. A step
says when it wants to be woken; the worker's main process looks at that every moment and sends the
message when it is due. One time a step is enough, since each step takes whatever is due. What a
dying worker forgets, every other's sweep remembers from SQL.

A step that is wanted now is woken now, but for all who want it within a moment once: it takes
whatever is due, and a message for each of a thousand requests would only be work.
"""

from datetime import UTC, datetime, timedelta
from multiprocessing.sharedctypes import RawValue
from typing import Any

from worker.steps import Step

# Who wants a step so soon after it was woken has it woken when this is over.
A_MOMENT = timedelta(seconds=0.2)

_OFF = 0.0


class Alarm:
    """One time a step, shared by a worker's main process and the children that it forks.

    The values have no lock: a child that is killed while it holds one would stop the timer of the
    whole worker. Two that set a time at once may lose the earlier; the sweep makes up for it.
    """

    def __init__(self) -> None:
        self._times: dict[Step, Any] = {step: RawValue("d", _OFF) for step in Step}
        self._woken: dict[Step, Any] = {step: RawValue("d", _OFF) for step in Step}

    def set(self, step: Step, at: datetime) -> None:
        """Have `step` woken at `at`, or earlier if that is set already."""
        time = self._times[step]
        wanted = at.timestamp()
        if time.value == _OFF or wanted < time.value:
            time.value = wanted

    def is_now(self, step: Step, now: datetime) -> bool:
        """Return whether to wake `step` now; else it was just woken, and will be in a moment."""
        woken = self._woken[step]
        again_at = datetime.fromtimestamp(woken.value, UTC) + A_MOMENT
        if now < again_at < now + 2 * A_MOMENT:  # else the clock was set
            self.set(step, again_at)
            return False
        woken.value = now.timestamp()
        return True

    def due(self, now: datetime) -> list[Step]:
        """Return the steps whose time has come, and forget their times."""
        ringing = [s for s, time in self._times.items() if _OFF < time.value <= now.timestamp()]
        for step in ringing:
            self._times[step].value = _OFF
            self._woken[step].value = now.timestamp()
        return ringing

    def next(self, step: Step) -> datetime | None:
        """Return when `step` is to be woken, or None."""
        value = self._times[step].value
        return None if value == _OFF else datetime.fromtimestamp(value, UTC)
