"""Clock: the time by the database's clock, which all workers share.

A claim that one worker's clock holds for run out would be taken from another that is still at it;
so the workers' own clocks, which may be minutes apart, are not asked.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import DateTime, Engine, select, type_coerce
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import func

# Two good clocks drift apart by a few milliseconds in this time.
SYNC_SECONDS = 60.0
AGAIN_SECONDS = 10.0  # after a database that did not answer


def local() -> datetime:
    """Return the time by this machine's clock, aware and in UTC."""
    return datetime.now(UTC)


def elapsed() -> float:
    """Return seconds from some fixed time, the machine's sleep among them, whoever sets a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Clock:
    """Tells the database's time; where the database is SQLite, a file, this machine's.

    The database is asked once a minute. While it does not answer, time goes on from what it said
    last; before it ever did, this machine's clock has to do.

    Args:
        engine: of the database.
        machine: this machine's clock.
    """

    def __init__(self, engine: Engine, *, machine: Callable[[], datetime] = local) -> None:
        self._engine = engine
        self._machine = machine
        self._is_shared = engine.dialect.name != "sqlite"
        self._ahead: timedelta | None = None  # the database's time, less `elapsed`
        self._sync_at = 0.0
        self._epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time, aware and in UTC."""
        if not self._is_shared:
            return self._machine()
        if elapsed() >= self._sync_at:
            self._sync()
        if self._ahead is None:
            return self._machine()
        return self._epoch + self._ahead + timedelta(seconds=elapsed())

    def _sync(self) -> None:
        self._sync_at = elapsed() + AGAIN_SECONDS  # also keeps other threads from asking too
        asked = elapsed()
        try:
            with self._engine.connect() as connection:
                told = connection.scalar(
                    select(type_coerce(func.clock_timestamp(), DateTime(timezone=True)))
                )
        except SQLAlchemyError:
            return
        if told is not None:
            middle = (asked + elapsed()) / 2
            self._ahead = told - self._epoch - timedelta(seconds=middle)
            self._sync_at = elapsed() + SYNC_SECONDS
