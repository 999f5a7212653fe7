"""Export: one job at Uplynk and one file in storage."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, Index, String, Text, inspect, text
from sqlalchemy.orm import (
    Mapped,
    Session,
    WriteOnlyMapped,
    mapped_column,
    object_session,
    relationship,
)

from models.base import Base, by_value
from models.history import History
from models.state import (
    TERMINAL,
    TRANSITIONS,
    UNDER_WAY,
    Audio,
    Captions,
    State,
    StopCause,
    TransitionError,
)

# The words of the partial unique index: SQLite uses it only for a query that says just these.
IS_UNDER_WAY = text(
    "state IN ({})".format(", ".join(f"'{state}'" for state in State if state in UNDER_WAY))
)
_NO_ENDS = "no ends"  # what a session is told in which no export may end

_IS_DUE = text("due_at IS NOT NULL")
_IS_REQUESTED = text(f"state = '{State.REQUESTED}'")
IS_STORED = text(f"state = '{State.STORED}'")
IS_WITHOUT_FILE = text(f"state IN ('{State.FAILED}', '{State.CANCELLED}')")
_IS_DOWNLOADING = text(f"state = '{State.DOWNLOADING}'")
_IS_UNWANTED = text("unwanted_since IS NOT NULL AND due_at IS NOT NULL")
_ARE_CAPTIONS_DUE = text("captions_due_at IS NOT NULL")
_IS_JOB_TO_BE_DELETED = text("job_delete_at IS NOT NULL AND captions_due_at IS NULL")

ASKED_FOR = "a request asked for it"


class Export(Base):
    """One job at Uplynk and one file in storage, shared by all requests that want just that.

    `due_at` says when the next step is to be taken; it is null once the export has ended. Who
    takes a step holds `claim` until `claimed_until`, and for so long that is `due_at` too: a step
    whose taker died is due when its claim has run out.
    """

    __tablename__ = "exports"
    __table_args__ = (
        # create: an export under way is shared, never made twice
        Index(
            "uq_exports_under_way",
            "account",
            "asset",
            "audio",
            unique=True,
            postgresql_where=IS_UNDER_WAY,
            sqlite_where=IS_UNDER_WAY,
        ),
        # adoption: no two exports have the same job
        Index("uq_exports_job_id", "job_id", unique=True),
        # the sweep finds what has a due_at; under way without one, an export would be lost for good
        CheckConstraint(f"NOT ({IS_UNDER_WAY.text}) OR due_at IS NOT NULL", "never_forgotten"),
        # claims.take for polls, claims.next_due, claims.count, the sweep
        Index("ix_exports_due", "state", "due_at", postgresql_where=_IS_DUE, sqlite_where=_IS_DUE),
        # admission.outlook
        Index(
            "ix_exports_turns",
            "account",
            text("priority DESC"),
            "requester",
            "due_at",
            postgresql_where=_IS_REQUESTED,
            sqlite_where=_IS_REQUESTED,
        ),
        # claims.take for downloads
        Index(
            "ix_exports_downloads",
            "account",
            text("priority DESC"),
            "done_at",
            postgresql_where=_IS_DOWNLOADING,
            sqlite_where=_IS_DOWNLOADING,
        ),
        # claims.take for those whose jobs are erased soon, claims.oldest_done
        Index(
            "ix_exports_done_at",
            "account",
            "done_at",
            postgresql_where=_IS_DOWNLOADING,
            sqlite_where=_IS_DOWNLOADING,
        ),
        # claims.stored_since, pruning.old_exports, listing
        Index(
            "ix_exports_stored",
            "account",
            "state_since",
            postgresql_where=IS_STORED,
            sqlite_where=IS_STORED,
        ),
        # pruning.old_exports, listing
        Index(
            "ix_exports_without_file",
            "account",
            "state_since",
            postgresql_where=IS_WITHOUT_FILE,
            sqlite_where=IS_WITHOUT_FILE,
        ),
        # listing: those that ended with a code
        Index(
            "ix_exports_of_code",
            "error_code",
            "state_since",
            postgresql_where=IS_WITHOUT_FILE,
            sqlite_where=IS_WITHOUT_FILE,
        ),
        # bulk: what is stored already
        Index(
            "ix_exports_of_asset",
            "account",
            "asset",
            postgresql_where=IS_STORED,
            sqlite_where=IS_STORED,
        ),
        # claims.take for polls of those that are to be stopped
        Index(
            "ix_exports_unwanted",
            "state",
            "due_at",
            postgresql_where=_IS_UNWANTED,
            sqlite_where=_IS_UNWANTED,
        ),
        # claims.captions_due, claims.next_captions_due
        Index(
            "ix_exports_captions_due",
            "captions_due_at",
            postgresql_where=_ARE_CAPTIONS_DUE,
            sqlite_where=_ARE_CAPTIONS_DUE,
        ),
        # deletions.take, deletions.next_due
        Index(
            "ix_exports_job_delete_at",
            "account",
            "job_delete_at",
            postgresql_where=_IS_JOB_TO_BE_DELETED,
            sqlite_where=_IS_JOB_TO_BE_DELETED,
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account: Mapped[str] = mapped_column(String(32))
    asset: Mapped[str] = mapped_column(String(32))
    audio: Mapped[Audio] = mapped_column(by_value(Audio, "audio"))
    priority: Mapped[int] = mapped_column(default=0)  # the highest of its requests'
    # whose turn it takes, in the row of those who want something of the same priority
    requester: Mapped[str] = mapped_column(String(64), default="", server_default=text("''"))
    state: Mapped[State] = mapped_column(by_value(State, "state"))
    state_since: Mapped[datetime]
    created_at: Mapped[datetime]

    due_at: Mapped[datetime | None]
    claim: Mapped[UUID | None]
    claimed_until: Mapped[datetime | None]

    attempts: Mapped[int] = mapped_column(default=0)  # failures in a row of the present step
    failing_since: Mapped[datetime | None]  # when that row of failures began
    looks: Mapped[int] = mapped_column(default=0)  # searches for a job of unknown outcome, in vain
    asked_at: Mapped[datetime | None]  # when create_export was first called, or about to be
    begun_at: Mapped[datetime | None]  # when it was first asked for, or retried: for deadlines
    unwanted_since: Mapped[datetime | None]  # no request wants it any more; Uplynk may be at it
    # exports before it whose jobs were erased; the release before this one knows no such column
    renewals: Mapped[int] = mapped_column(default=0, server_default="0")

    job_id: Mapped[str | None] = mapped_column(String(64))
    job_state: Mapped[str | None] = mapped_column(String(64))  # Uplynk's word, whatever it is
    job_progress: Mapped[str | None] = mapped_column(Text)
    job_error: Mapped[str | None] = mapped_column(Text)  # Uplynk's last_error
    job_created_at: Mapped[datetime | None]  # when we learned of the job; Uplynk doesn't tell
    job_finished_at: Mapped[datetime | None]  # by Uplynk's clock
    done_at: Mapped[datetime | None]  # the same, or else when we learned that there is a file
    job_delete_at: Mapped[datetime | None]  # when Uplynk is to forget it; null: never, or it has
    # both set before Uplynk is told to stop the job, which may stop though no answer is ever heard
    stop_cause: Mapped[StopCause | None] = mapped_column(
        by_value(StopCause, "stop_cause", is_checked=False)
    )
    stop_told_at: Mapped[datetime | None]
    polls: Mapped[int] = mapped_column(default=0)

    url: Mapped[str | None] = mapped_column(Text)
    bytes_done: Mapped[int | None] = mapped_column(BigInteger)  # of the download, as last noted
    bytes_total: Mapped[int | None] = mapped_column(BigInteger)  # as the server declared it
    bytes_per_second: Mapped[float | None]  # of the download, of late
    storage_url: Mapped[str | None] = mapped_column(Text)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    duration_seconds: Mapped[float | None]
    asset_duration_seconds: Mapped[float | None]  # as Uplynk has it, if it answered
    video_codec: Mapped[str | None] = mapped_column(String(32))
    audio_codec: Mapped[str | None] = mapped_column(String(32))
    audio_profile: Mapped[str | None] = mapped_column(String(32))  # as FFmpeg names it: LC, HE-AAC
    width: Mapped[int | None]
    height: Mapped[int | None]
    captions: Mapped[Captions | None] = mapped_column(by_value(Captions, "captions"))
    captions_url: Mapped[str | None] = mapped_column(Text)
    captions_note: Mapped[str | None] = mapped_column(Text)  # what is wrong with them
    captions_due_at: Mapped[datetime | None]  # when they are asked for again; else null
    webvtt_url: Mapped[str | None] = mapped_column(Text)

    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)

    history: WriteOnlyMapped[History] = relationship(order_by=History.id, passive_deletes=True)

    @property
    def seconds_left(self) -> float | None:
        """How long its download will take at the rate of late, if that can be told."""
        if self.bytes_done is None or self.bytes_total is None or not self.bytes_per_second:
            return None
        return max(self.bytes_total - self.bytes_done, 0) / self.bytes_per_second

    def advance(
        self, target: State, *, now: datetime, reason: str, keep_claim: bool = False
    ) -> None:
        """Change the state, and leave a row of history.

        By one statement, without the row, that is done in passage.py, and by admission.admit.

        The export is due at once in its new state, or never again if that state is terminal, and
        the claim is given back: a claim is for one step. `keep_claim` is for the change of state
        that begins a step; an export that has ended keeps none, and its requests are told.

        Raises:
            TransitionError: the table of transitions has no such way.
        """
        if target not in TRANSITIONS[self.state]:
            raise TransitionError(self.state, target)
        self.history.add(History(at=now, from_state=self.state, to_state=target, reason=reason))
        self.state, self.state_since = target, now
        if target in TERMINAL:
            self.release(due_at=None)
            if session := object_session(self):
                leave_word(session, self.id)
        elif not keep_claim or self.due_at is None:  # who had ended has no claim to keep
            self.release(due_at=now)

    @classmethod
    def begun(
        cls,
        *,
        account: str,
        asset: str,
        audio: Audio,
        priority: int,
        now: datetime,
        requester: str = "",
    ) -> "Export":
        """Return a new export at the beginning of its way, due now, without a row of history."""
        return cls(
            id=uuid4(),
            account=account,
            asset=asset,
            audio=audio,
            priority=priority,
            requester=requester,
            state=State.REQUESTED,
            state_since=now,
            created_at=now,
            due_at=now,
        )

    @classmethod
    def requested(cls, *, reason: str = ASKED_FOR, **members: Any) -> "Export":  # noqa: ANN401
        """Return a new export, as `begun` does, with the first row of its history."""
        export = cls.begun(**members)
        export.history.add(History(**beginning_of(export, reason)))
        return export

    def release(self, *, due_at: datetime | None) -> None:
        """Give the claim back; the next step is due at `due_at`, or never."""
        self.claim = self.claimed_until = None
        self.due_at = due_at

    def fail(self, code: str, message: str, *, now: datetime) -> None:
        """End the export without a file, with a code and a sentence for a person."""
        self.error_code, self.error_message = code, message
        self.advance(State.FAILED, now=now, reason=f"{code}: {message}")

    def cancel(self, code: str, message: str, *, now: datetime) -> None:
        """End the export because it is not to go on, with a code and a sentence for a person."""
        self.error_code, self.error_message = code, message
        self.advance(State.CANCELLED, now=now, reason=f"{code}: {message}")

    def retry(self, target: State, *, now: datetime, reason: str) -> None:
        """Take an export that ended without a file up again, in `target`, with all its time."""
        self.advance(target, now=now, reason=reason)
        self.recovered()
        self.error_code = self.error_message = self.unwanted_since = None
        self.begun_at, self.looks, self.renewals = now, 0, 0

    def put_off(self, delay: timedelta, *, now: datetime) -> None:
        """Set down one more failure of the present step, to be taken again after `delay`."""
        self.attempts += 1
        self.failing_since = self.failing_since or now
        self.release(due_at=now + delay)

    def recovered(self) -> None:
        """Forget the failures in a row: the step did what it is there for."""
        self.attempts, self.failing_since = 0, None


def beginning_of(export: Export, reason: str = ASKED_FOR) -> dict[str, Any]:
    """Return the columns of the first row of history of a new export."""
    return {
        "export_id": export.id,
        "at": export.state_since,
        "from_state": None,
        "to_state": export.state,
        "reason": reason,
    }


def row_of(export: Export) -> dict[str, Any]:
    """Return the columns that are set of an export that no session has."""
    return {
        column.key: export.__dict__[column.key]
        for column in inspect(Export).column_attrs
        if column.key in export.__dict__
    }


def ended_in(session: Session) -> set[UUID]:
    """Return the exports that have ended in this session since it was last asked."""
    ended: set[UUID] = session.info.pop(Export, set())
    return ended


def leave_word(session: Session, export_id: UUID) -> None:
    """Let the outbox know that this one has ended.

    Raises:
        RuntimeError: the outbox could not tell it in the same transaction.
    """
    if session.info.get(_NO_ENDS):
        raise RuntimeError("an export ends in a transaction: its CMS is told in the same")
    session.info.setdefault(Export, set()).add(export_id)


def forbid_ends(session: Session) -> None:
    """Have no export end in this session of which somebody may have to be told."""
    session.info[_NO_ENDS] = True
