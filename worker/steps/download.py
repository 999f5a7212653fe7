"""Download: the file that Uplynk made is brought, proven whole, and published."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from models import Export, State, claims, passage
from models.database import autocommitted
from worker import pace, tracing
from worker.errors import ClaimLost, ExportError, Permanent, Stopping, Transient
from worker.logs import about, get_logger
from worker.settings import Settings
from worker.steps import failure, place, proof
from worker.steps.captions import Found
from worker.steps.captions import bring as bring_captions
from worker.steps.captions import columns as captions_columns
from worker.steps.heartbeat import Heartbeat
from worker.steps.kit import Kit
from worker.steps.persistence import persist, still_held, tell_dropped
from worker.steps.report import Report, Step, Wake
from worker.transfer.bounds import Bounds
from worker.transfer.fetch import Fetched, UrlGone, fetch
from worker.transfer.film import Film
from worker.transfer.lanes import Lanes
from worker.transfer.manner import Manner
from worker.transfer.part import Part
from worker.transfer.parts import open_part, remove_abandoned
from worker.transfer.stall import Floor

# A stream that breaks, or is not answered, is taken up again on the spot so often in a row.
MOST_BREAKS = 3

NOT_DUE = "not due"

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Brought:
    """What was brought into storage."""

    fetched: Fetched
    film: Film
    asset_seconds: float | None
    captions: Found
    storage_url: str


def download(kit: Kit, export_id: UUID) -> Report:
    """Bring the file that is the most urgent of all that are due into storage.

    That is one whose job will soon be erased, whatever its priority; then those of the highest
    priority. So the export that the message names is served when its turn has come, and a message
    that comes twice, or late, is not wasted. Whatever ends it early, storage shows the file whole
    or not at all.
    """
    export = _taken(kit)
    if export is None:
        return Report({"state": NOT_DUE, "export_id": str(export_id)})
    with about(export_id=export.id), tracing.step("download", kit.sessions, export):
        return _downloaded(kit, export)


def _downloaded(kit: Kit, export: Export) -> Report:
    if failure.is_deadly(kit, export, now=kit.now()):
        return _failed(
            kit, export, Permanent("step_died", "each worker that downloaded it died at it")
        )
    _log.info("download begun", asset=export.asset, attempt=export.attempts)
    try:
        with Heartbeat(kit, export, limit=kit.settings.download_deadline) as heartbeat:
            brought = _bring(kit, export, heartbeat)
    except ExportError as error:
        trouble = error
        return persist(kit, lambda: _failed(kit, export, trouble))
    except (ClaimLost, Stopping) as left:
        return _left(kit, export, left)
    except Exception as error:  # noqa: BLE001  (the boundary of a row; see failure)
        failure.record_unforeseen(kit, export, error)
        return _told(export, error="unforeseen")
    return persist(kit, lambda: _stored(kit, export, brought))


def _taken(kit: Kit) -> Export | None:
    now = kit.now()
    take = partial(
        claims.take,
        state=State.DOWNLOADING,
        now=now,
        until=now + kit.settings.claim,
        account=kit.slicer.owner,
    )
    with autocommitted(kit.sessions) as session:
        in_danger = kit.governor.danger(session)
        taken = take(session, only=claims.DONE_BY, by=in_danger) if in_danger else []
        taken = taken or take(session)
    return taken[0] if taken else None


def _bring(kit: Kit, export: Export, heartbeat: Heartbeat) -> Brought:
    """Fetch, verify and publish; the film last, so that its being there says all is there."""
    url = str(export.url)
    bounds = Bounds(kit.settings.max_file_bytes, kit.settings.scratch_reserve_bytes)
    with _scratch(kit, export) as part:
        fetched = fetch(kit.http(), url, part, guard=heartbeat, bounds=bounds, manner=_manner(kit))
        film = _verified(part, heartbeat)
        proof.check_audio(kit, export, film)
        asset_seconds = proof.check_duration(kit, export, film)
        captions = bring_captions(kit, export, heartbeat)
        storage_url = kit.storage.publish(
            part.path,
            place.film(kit.settings, export),
            content_type="video/mp4",
            check=heartbeat.check,
            metadata={
                "asset": export.asset,
                "export": str(export.id),
                "sha256": fetched.sha256,
            },
            is_ours=True,
        )
    return Brought(fetched, film, asset_seconds, captions, storage_url)


def _manner(kit: Kit) -> Manner:
    settings = kit.settings
    return Manner(
        most_streams=settings.download_streams,
        most_breaks=MOST_BREAKS,
        floor=Floor(settings.download_min_bytes_per_second),
        lanes=Lanes(settings.scratch_dir, settings.download_streams_per_host),
        came=kit.came,
    )


@contextmanager
def _scratch(kit: Kit, export: Export) -> Iterator[Part]:
    """Give the export's part under SCRATCH_DIR: the one that an earlier taker left, if any."""
    assert export.claim is not None  # noqa: S101  (whoever takes a step has claimed it)
    with ExitStack() as stack:
        try:
            part = stack.enter_context(open_part(kit.settings.scratch_dir, export.id, export.claim))
        except OSError as error:
            raise Transient(
                "scratch_unwritable", f"can't write to SCRATCH_DIR: {error.strerror}"
            ) from error
        yield part


def _verified(part: Part, heartbeat: Heartbeat) -> Film:
    """Return what is in the part; one that is not whole is not gone on with."""
    # FFmpeg is 20 MiB, and only who downloads needs it (see worker/celery.py)
    from worker.transfer.verify import verify  # noqa: PLC0415

    try:
        return verify(part.path, check=heartbeat.check)
    except Transient:
        part.discard()
        raise


def _stored(kit: Kit, export: Export, brought: Brought) -> Report:
    """Set down that the file is in storage, and what it is like."""
    now = kit.now()
    captions = captions_columns(brought.captions, stored_at=now, now=now)
    is_stored = passage.end(
        kit.sessions,
        export,
        State.STORED,
        now=now,
        reason="the file is stored and verified",
        values={
            **_columns(brought),
            **captions,
            "job_delete_at": _job_delete_at(kit.settings, export, stored_at=now),
        },
    )
    if not is_stored:
        tell_dropped(export)
        return _taken_over(export)
    _forget_part(kit, export)
    _log.info(
        "export stored",
        asset=export.asset,
        captions=str(brought.captions.captions),
        bytes=brought.fetched.size_bytes,
    )
    captions_due_at = captions["captions_due_at"]
    wakes = (Wake(Step.CAPTIONS, at=captions_due_at),) if captions_due_at is not None else ()
    return _told(export, wakes, state=str(State.STORED), bytes=brought.fetched.size_bytes)


def _columns(brought: Brought) -> dict[str, Any]:
    """Return the columns that say what the file is like."""
    size, film = brought.fetched.size_bytes, brought.film
    return {
        "size_bytes": size,
        "bytes_done": size,
        "bytes_total": size,
        "bytes_per_second": None,
        "sha256": brought.fetched.sha256,
        "duration_seconds": film.duration_seconds,
        "asset_duration_seconds": brought.asset_seconds,
        "video_codec": film.video_codec,
        "audio_codec": film.audio_codec,
        "audio_profile": film.audio_profile,
        "width": film.width,
        "height": film.height,
        "storage_url": brought.storage_url,
    }


def _job_delete_at(settings: Settings, export: Export, *, stored_at: datetime) -> datetime | None:
    if settings.delete_jobs_after is None:
        return None
    ended_at = export.job_finished_at or export.done_at or stored_at
    return pace.delete_job_at(stored_at, after=settings.delete_jobs_after, ended_at=ended_at)


def _failed(kit: Kit, export: Export, error: ExportError) -> Report:
    """Set down that it failed; where the URL is gone, Uplynk is asked for it again."""
    with kit.sessions.begin() as session:
        held = still_held(session, export)
        if held is None:
            return _taken_over(export)
        now = kit.now()
        if isinstance(error, UrlGone):
            held.advance(State.EXPORTING, now=now, reason=f"asking for its URL: {error.message}")
        failure.record(kit, held, error, now=now)
        step = Step.POLL if held.state is State.EXPORTING else Step.SWEEP
        wakes = (Wake(step, at=held.due_at),) if held.due_at else ()
    if held.due_at is None:
        _forget_part(kit, export)
    return _told(export, wakes, error=error.code)


def _left(kit: Kit, export: Export, why: ClaimLost | Stopping) -> Report:
    """Leave the export to another worker, at once if this one was told to stop."""
    if isinstance(why, ClaimLost):
        with kit.sessions.begin() as session:
            now = session.get(Export, export.id)
        if now is None or now.state is not State.DOWNLOADING:  # it was cancelled
            _forget_part(kit, export)
        tell_dropped(export)
        return _taken_over(export)
    with kit.sessions.begin() as session:
        if held := claims.held(session, export.id, export.claim):
            held.release(due_at=kit.now())
    return _told(export, state="left for another worker")


def _forget_part(kit: Kit, export: Export) -> None:
    """Remove what came of a file that nobody brings any more, unless somebody writes to it yet."""
    with suppress(OSError):  # it costs room, and nothing else
        remove_abandoned(kit.settings.scratch_dir, export.id)


def _taken_over(export: Export) -> Report:
    return _told(export, state="taken over")


def _told(export: Export, wakes: tuple[Wake, ...] = (), **facts: object) -> Report:
    return Report({**facts, "export_id": str(export.id)}, wakes)
