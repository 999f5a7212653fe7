"""Cleaning: how far an account's records have been cleaned up, known to all workers."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Cleaning(Base):
    """When it is next looked for what is old, and how far that has come.

    Who looks moves `due_at` on first, so that nobody else does; who dies at it leaves the rest to
    the next time.
    """

    __tablename__ = "cleanings"

    account: Mapped[str] = mapped_column(String(32), primary_key=True)
    due_at: Mapped[datetime]
    history_until: Mapped[datetime | None]  # exports that ended before have no history any more
    jobs_rest_until: Mapped[datetime | None]  # no job is deleted before: Uplynk did not do it
