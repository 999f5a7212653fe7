"""Notification: an outbox row, written in the transaction of the state that it tells of."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json, by_value
from models.state import Channel

_IS_DUE = text("due_at IS NOT NULL")


class Notification(Base):
    """Something to tell a CMS by one way, once at least.

    `due_at` is null once it was delivered or given up. The payload's `id` is what the receiver
    drops duplicates by; it is the same by each way.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        # deliveries.next_due
        Index("ix_notifications_due", "due_at", postgresql_where=_IS_DUE, sqlite_where=_IS_DUE),
        # deliveries.receivers, deliveries.take
        Index(
            "ix_notifications_of_receiver",
            "receiver",
            "due_at",
            postgresql_where=_IS_DUE,
            sqlite_where=_IS_DUE,
        ),
        # figures.given_up
        Index(
            "ix_notifications_dead",
            "dead_at",
            postgresql_where=text("dead_at IS NOT NULL"),
            sqlite_where=text("dead_at IS NOT NULL"),
        ),
        Index("ix_notifications_of_request", "request_id"),
        Index("ix_notifications_created_at", "created_at"),  # the command line: newest first
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id", ondelete="CASCADE"))
    channel: Mapped[Channel] = mapped_column(by_value(Channel, "channel"))
    # who is slow or away as one: the origin of a webhook's URL, or a queue of tasks
    receiver: Mapped[str] = mapped_column(String(300), default="", server_default=text("''"))
    type: Mapped[str] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    claim: Mapped[UUID | None]
    claimed_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(Text)
    delivered_at: Mapped[datetime | None]
    dead_at: Mapped[datetime | None]
