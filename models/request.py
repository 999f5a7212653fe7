"""Request: somebody's wish for a file, with what they want to be told and where."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, Json, by_value
from models.batch import LONGEST_NAME
from models.export import Export
from models.state import Audio, State

_IS_OF_A_BATCH = text("batch IS NOT NULL")
_IS_WITHOUT_EXPORT = text("export_id IS NULL")
_HAS_REQUESTER = text("requester <> ''")
_IS_WITHDRAWN = text("cancelled_at IS NOT NULL")

REFUSED = "invalid_request"  # the code of every request that made no sense


class Request(Base):
    """Somebody's wish for a file. Its id is the id of the Celery task that brought it.

    A request that made no sense is kept too, with the error that says why and without an export:
    what was sent is then in `asset` as far as it can be told.
    """

    __tablename__ = "requests"
    __table_args__ = (
        Index("ix_requests_of_export", "export_id"),
        Index("ix_requests_created_at", "created_at"),  # list: newest first
        # list, batches and manifest: those of a batch
        Index(
            "ix_requests_of_batch",
            "batch",
            "created_at",
            postgresql_where=_IS_OF_A_BATCH,
            sqlite_where=_IS_OF_A_BATCH,
        ),
        Index("ix_requests_of_asset", "asset", "created_at"),  # listing
        # listing: those of who asked
        Index(
            "ix_requests_of_requester",
            "requester",
            "created_at",
            postgresql_where=_HAS_REQUESTER,
            sqlite_where=_HAS_REQUESTER,
        ),
        # listing: those that were withdrawn
        Index(
            "ix_requests_withdrawn",
            "cancelled_at",
            postgresql_where=_IS_WITHDRAWN,
            sqlite_where=_IS_WITHDRAWN,
        ),
        # pruning.old_requests, listing
        Index(
            "ix_requests_without_export",
            "created_at",
            postgresql_where=_IS_WITHOUT_EXPORT,
            sqlite_where=_IS_WITHOUT_EXPORT,
        ),
    )

    id: Mapped[str] = mapped_column(String(155), primary_key=True)  # Celery's own limit on ids
    export_id: Mapped[UUID | None] = mapped_column(ForeignKey("exports.id"))
    asset: Mapped[str | None] = mapped_column(String(255))
    audio: Mapped[Audio | None] = mapped_column(by_value(Audio, "audio"))
    priority: Mapped[int] = mapped_column(default=0)
    requester: Mapped[str] = mapped_column(String(64), default="", server_default=text("''"))
    batch: Mapped[str | None] = mapped_column(
        String(LONGEST_NAME)
    )  # that it was sent in, if in one
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", Json, default=dict)
    callback_task: Mapped[str | None] = mapped_column(String(255))
    callback_queue: Mapped[str | None] = mapped_column(String(255))
    webhook_url: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    cancelled_at: Mapped[datetime | None]  # when it was detached from its export
    retried_by: Mapped[str | None] = mapped_column(String(155))  # the message that last did
    # the span that set it down, as the header `traceparent` of W3C's Trace Context has it
    trace_context: Mapped[str | None] = mapped_column(String(64))
    error_code: Mapped[str | None] = mapped_column(String(64))  # only if it was refused
    error_message: Mapped[str | None] = mapped_column(Text)

    export: Mapped[Export | None] = relationship(lazy="joined")

    @property
    def state(self) -> State:
        """Where the wish stands: its export's state, unless it was refused or withdrawn."""
        if self.cancelled_at is not None:
            return State.CANCELLED
        return State.FAILED if self.export is None else self.export.state

    @property
    def error(self) -> tuple[str, str] | None:
        """The code and the sentence that say why it failed, or None.

        What became of the export after the request was withdrawn is not the request's any more.
        """
        source = self if self.export is None or self.cancelled_at else self.export
        if source.error_code is None:
            return None
        return source.error_code, source.error_message or ""
