"""Breaker: whether a service answers at all, known to all workers."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Breaker(Base):
    """A circuit breaker: open while a service is away, so that one worker probes and no other asks.

    `probe_at` is when the next probe is due while it is open; who probes moves it on first.
    """

    __tablename__ = "breakers"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int] = mapped_column(default=0)  # in a row, by any worker
    probes: Mapped[int] = mapped_column(default=0)  # in vain, since it opened
    opened_at: Mapped[datetime | None]  # null while it is closed
    probe_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]  # when the last outage ended that excuses failures
