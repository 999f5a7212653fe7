"""Batch: many requests that were sent as one list, under one name."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base

LONGEST_NAME = 64


class Batch(Base):
    """A list of requests; which are of it, each request's `batch` says.

    The same list under the same name is the same batch: sent again, it adds only what is new in it.
    """

    __tablename__ = "batches"

    name: Mapped[str] = mapped_column(String(LONGEST_NAME), primary_key=True)
    account: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]
