"""Ledger: what a step does is counted while it is done, for whoever reads its task's result."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from models import Export, Notification
from worker.errors import ExportError

Row = Export | Notification


@dataclass(slots=True)
class Ledger:
    """What was counted so far.

    Attributes:
        calls: to Uplynk.
        failures: what failed by its id, and when it is tried again; None: not any more.
        last: the last failure.
    """

    calls: int = 0
    failures: dict[UUID, datetime | None] = field(default_factory=dict)
    last: ExportError | None = None

    @property
    def again(self) -> int:
        """How many failed and are tried again later."""
        return sum(at is not None for at in self.failures.values())

    @property
    def again_at(self) -> datetime | None:
        """When the next of these is; None if there is none."""
        return min((at for at in self.failures.values() if at is not None), default=None)

    def facts(self) -> Mapping[str, int]:
        """Return what was counted, where there was anything."""
        given_up = len(self.failures) - self.again
        counts = {"calls": self.calls, "again": self.again, "given_up": given_up}
        return {name: count for name, count in counts.items() if count}

    def failure(self, row: Row, error: ExportError) -> None:
        """Count a failure with a row; once, however often it is set down."""
        self.failures[row.id], self.last = row.due_at, error


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
