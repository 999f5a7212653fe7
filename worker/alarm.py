"""Alarm: when this worker's own timer is to wake a step.

No message waits in the broker, or unacknowledged in a worker's hands, for a time to come. A step
says when it wants to be woken; the worker's main process looks at that every moment and sends the
message when it is due. One time a step is enough, since each step takes whatever is due. What a
dying worker forgets, every other's sweep remembers from SQL.

A step that is wanted now is woken now, but in a moment only a few times: it takes whatever is due,
and a message for each of a thousand requests would only be work. Few, and not once, because one
message asks for one export after the other, and several ask side by side.
"""

from datetime import UTC, datetime, timedelta
from multiprocessing.sharedctypes import RawValue
from typing import Any

from worker.steps import Step

# Who wants a step that was woken so often in a moment has it woken when that is over.
A_MOMENT = timedelta(seconds=0.2)
A_FEW = 4

_OFF = 0.0


class Alarm:
    """One time a step, shared by a worker's main process and the children that it forks.

    The values have no lock: a child that is killed while it holds one would stop the timer of the
    whole worker. Two that set a time at once may lose the earlier; the sweep makes up for it.
    """

    def __init__(self) -> None:
        self._times: dict[Step, Any] = {step: RawValue("d", _OFF) for step in Step}
        self._woken: dict[Step, Any] = {step: RawValue("d", _OFF) for step in Step}
        self._times_woken: dict[Step, Any] = {step: RawValue("i", 0) for step in Step}

    def set(self, step: Step, at: datetime) -> None:
        """Have `step` woken at `at`, or earlier if that is set already."""
        time = self._times[step]
        wanted = at.timestamp()
        for _ in range(2):  # who sets a later time in this very moment does not have the last word
            if time.value == _OFF or wanted < time.value:
                time.value = wanted

    def is_now(self, step: Step, now: datetime) -> bool:
        """Return whether to wake `step` now; else it was often of late, and will be in a moment."""
        again_at = datetime.fromtimestamp(self._woken[step].value, UTC) + A_MOMENT
        if not now < again_at < now + 2 * A_MOMENT:  # longer ago, or the clock was set
            self._note(step, now)
            return True
        times = self._times_woken[step]
        if times.value < A_FEW:
            times.value += 1
            return True
        self.set(step, again_at)
        return False

    def _note(self, step: Step, now: datetime) -> None:
        self._woken[step].value, self._times_woken[step].value = now.timestamp(), 1

    def due(self, now: datetime) -> list[Step]:
        """Return the steps whose time has come, and forget their times."""
        ringing = [s for s, time in self._times.items() if _OFF < time.value <= now.timestamp()]
        for step in ringing:
            self._times[step].value = _OFF
            self._note(step, now)
        return ringing

    def next(self, step: Step) -> datetime | None:
        """Return when `step` is to be woken, or None."""
        value = self._times[step].value
        return None if value == _OFF else datetime.fromtimestamp(value, UTC)
