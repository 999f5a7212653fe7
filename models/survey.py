"""Survey: how far the list of an account's jobs has been read through, known to all workers."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Survey(Base):
    """One reading of Uplynk's list, from its begin to where all was seen that was due by then.

    It passes over what is surely not due; it `is_whole` where the list turned out to be in another
    order, or did not show what it should. Who reads holds `claim` from page to page, until
    `claimed_until`. Who makes room for other steps gives it back at once, and the next to read goes
    on at `skip`; none does before `claimed_until` where it pauses. Between two readings `begun_at`
    is null, and `claimed_until` says when the last one ended, or until when it pauses.
    """

    __tablename__ = "surveys"

    account: Mapped[str] = mapped_column(String(32), primary_key=True)
    claim: Mapped[UUID | None]
    claimed_until: Mapped[datetime | None]
    begun_at: Mapped[datetime | None]
    skip: Mapped[int] = mapped_column(default=0)  # how many jobs of the list were read or passed
    has_passed: Mapped[bool] = mapped_column(default=False, server_default=false())
    is_whole: Mapped[bool] = mapped_column(default=False, server_default=false())
    # how many that were due when it began, and are not seen yet
    unseen: Mapped[int] = mapped_column(default=0, server_default="0")
    barren: Mapped[int] = mapped_column(default=0, server_default="0")  # pages in a row: no use
    has_found: Mapped[bool] = mapped_column(default=False, server_default=false())
    read_by: Mapped[datetime | None]  # when the last one began; what it missed is asked for first
    rests_until: Mapped[datetime | None]  # not read before: it was refused, or of no use
    why: Mapped[str | None] = mapped_column(Text)  # it rests

    def rests(self, now: datetime) -> bool:
        """Return whether the list is let be."""
        return self.rests_until is not None and self.rests_until > now

    def has_left(self, first: datetime) -> bool:
        """Return whether there is something to go on with: it was left, or did not show all.

        Args:
            first: when the export is due that is due first.
        """
        return self.begun_at is not None or (self.read_by is not None and first <= self.read_by)
