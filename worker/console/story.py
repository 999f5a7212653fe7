"""Story: what there is to tell of an export or a request, for its page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

from rich.filesize import decimal
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Export, History, Notification, Request, State
from models.state import TERMINAL, UNDER_WAY
from worker import tables
from worker.remedies import REMEDIES, Remedy
from worker.steps.retry import is_paid_again

# Of an export's requests, and of a request's notifications.
MOST_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Moment:
    """A change of state on the time line.

    Attributes:
        at: when.
        state: the state that it led to.
        reason: why.
        lasted: how long it stayed so, if that is over or still goes on.
        is_last: whether it is so now.
    """

    at: datetime
    state: State
    reason: str
    lasted: timedelta | None
    is_last: bool


@dataclass(frozen=True, slots=True)
class Story:
    """What an export's page tells.

    Attributes:
        export: the export.
        moments: its changes of state, the first first.
        facts: what is known of it and its job, by name.
        film: what is known of its film and the captions.
        requests: who wants it, the first first, up to MOST_SHOWN.
        number: how many requests there are.
        remedy: what to do about its error, if it has one.
        can_retry: whether it ended without a file.
        can_cancel: whether it can still be withdrawn.
        pays: whether to take it up again is to pay for another job.
    """

    export: Export
    moments: Sequence[Moment]
    facts: dict[str, str]
    film: dict[str, str]
    requests: Sequence[Request]
    number: int
    remedy: Remedy | None
    can_retry: bool
    can_cancel: bool
    pays: bool


def of_export(session: Session, export: Export, *, now: datetime) -> Story:
    """Return what there is to tell of an export."""
    of_it = Request.export_id == export.id
    newest = select(Request).where(of_it).order_by(Request.created_at).limit(MOST_SHOWN)
    history = session.scalars(
        select(History).where(History.export_id == export.id).order_by(History.id)
    ).all()
    ended_without = export.state in TERMINAL - {State.STORED}
    return Story(
        export=export,
        moments=list(_moments(history, export, now=now)),
        facts=_known(_facts(export)),
        film=_known(_film(export)),
        requests=session.scalars(newest).all(),
        number=session.scalar(select(func.count()).where(of_it)) or 0,
        remedy=REMEDIES.get(export.error_code or ""),
        can_retry=ended_without,
        can_cancel=export.state in UNDER_WAY and export.unwanted_since is None,
        pays=ended_without and is_paid_again(export),
    )


def notifications(session: Session, request: Request) -> Sequence[Notification]:
    """Return what the CMS is told of a request, the last first."""
    return session.scalars(
        select(Notification)
        .where(Notification.request_id == request.id)
        .order_by(Notification.created_at.desc())
        .limit(MOST_SHOWN)
    ).all()


def to_retry(session: Session, export: Export) -> list[str]:
    """Return the ids of the requests that are taken up again with an export.

    Those that still want it; where none does, as all were withdrawn, all of them.
    """
    ids = _ids(session, Request.export_id == export.id, Request.cancelled_at.is_(None))
    return ids or _ids(session, Request.export_id == export.id)


def to_cancel(session: Session, export: Export) -> list[str]:
    """Return the ids of the requests that still want an export."""
    return _ids(session, Request.export_id == export.id, Request.cancelled_at.is_(None))


def _ids(session: Session, *conditions: Any) -> list[str]:  # noqa: ANN401  (SQLAlchemy's)
    return list(session.scalars(select(Request.id).where(*conditions)))


def _moments(history: Sequence[History], export: Export, *, now: datetime) -> Iterable[Moment]:
    for row, following in zip_longest(history, history[1:]):
        if following:
            lasted: timedelta | None = following.at - row.at
        else:
            lasted = now - row.at if export.state in UNDER_WAY else None
        yield Moment(row.at, row.to_state, row.reason, lasted, is_last=following is None)


def _known(told: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in told.items() if value}


def _facts(export: Export) -> Mapping[str, object]:
    """Return what is on record of an export; the file's URL at Uplynk is signed, and not told."""
    return {
        "Export": export.id,
        "Asset": export.asset,
        "Audio": export.audio,
        "Requester": export.requester,
        "Priority": export.priority,
        "Job at Uplynk": export.job_id,
        "Uplynk says": _job(export),
        "Looks at the job": export.polls and f"{export.polls:,}",
    }


def _film(export: Export) -> Mapping[str, object]:
    size, profile = export.size_bytes, export.audio_profile or ""
    return {
        "File": export.storage_url,
        "Size": size and f"{decimal(size)} ({size:,} bytes)",
        "SHA-256": export.sha256,
        "Duration": export.duration_seconds and tables.duration(export),
        "Picture": export.video_codec and f"{export.video_codec}, {export.width}x{export.height}",
        "Sound": export.audio_codec and f"{export.audio_codec} {profile}",
        "Captions": export.captions,
        "TTML": export.captions_url,
        "WebVTT": export.webvtt_url,
        "Note": export.captions_note,
    }


def _job(export: Export) -> str:
    parts = (export.job_state, export.job_progress, export.job_error)
    return ", ".join(part for part in parts if part)
