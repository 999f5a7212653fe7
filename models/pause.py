"""Pause: that nothing is to be asked of Uplynk for now, for one requester or for all."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base

# No requester's name: all of them.
EVERYBODY = "*"


class Pause(Base):
    """Exports of `requester` stay `requested` as long as this row is there.

    What Uplynk was asked for by then goes on, and its files are brought.
    """

    __tablename__ = "pauses"

    account: Mapped[str] = mapped_column(String(32), primary_key=True)
    requester: Mapped[str] = mapped_column(String(64), primary_key=True)
    since: Mapped[datetime]
