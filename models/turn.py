"""Turn: when which requester last had an export asked for."""

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Turn(Base):
    """A requester's place in the row of those who take turns: the lowest `served` comes first."""

    __tablename__ = "turns"
    __table_args__ = (Index("ix_turns_order", "account", "served", "requester"),)

    account: Mapped[str] = mapped_column(String(32), primary_key=True)
    requester: Mapped[str] = mapped_column(String(64), primary_key=True)
    served: Mapped[int] = mapped_column(BigInteger, default=0)  # counts on over all requesters
