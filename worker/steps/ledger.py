"""Ledger: what a step does is counted while it is done, for whoever reads its task's result."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import NamedTuple
from uuid import UUID

from models import Export, Notification
from worker.errors import ExportError

Row = Export | Notification


class Failure(NamedTuple):
    """That something failed: why, and when it is tried again; None: not any more."""

    error: ExportError
    again_at: datetime | None


@dataclass(slots=True)
class Ledger:
    """What was counted so far.

    Attributes:
        calls: to Uplynk.
        failures: of what failed, by its id; the last at the end.
    """

    calls: int = 0
    failures: dict[UUID, Failure] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def again(self) -> int:
        """How many failed and are tried again later."""
        return sum(failure.again_at is not None for failure in self.failures.values())

    @property
    def foremost(self) -> Failure | None:
        """The failure of what is tried again next, or else the last; None if there is none."""
        last: Failure | None = None
        next_at: datetime | None = None
        for failure in self.failures.values():
            at = failure.again_at
            if next_at is None or (at is not None and at < next_at):
                last, next_at = failure, at
        return last

    def facts(self) -> Mapping[str, int]:
        """Return what was counted, where there was anything."""
        given_up = len(self.failures) - self.again
        counts = {"calls": self.calls, "again": self.again, "given_up": given_up}
        return {name: count for name, count in counts.items() if count}

    def called(self) -> None:
        """Count a call; a step may make several at once."""
        with self._lock:
            self.calls += 1

    def failure(self, row: Row, error: ExportError) -> None:
        """Count a failure with a row; once, however often it is set down."""
        self.failures.pop(row.id, None)
        self.failures[row.id] = Failure(error, row.due_at)


_ledger: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


@contextmanager
def counted() -> Iterator[Ledger]:
    """Give what is counted in this context, of this thread."""
    token = _ledger.set(Ledger())
    try:
        yield current()
    finally:
        _ledger.reset(token)


def current() -> Ledger:
    """Return what is counted now; where nobody asked for it, what is forgotten."""
    return _ledger.get() or Ledger()
