"""Captions: they are brought beside their film; what can't be told is asked again later."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from models import Captions, Export, claims
from worker import pace
from worker.errors import Permanent, Stopping, Transient
from worker.logs import about, get_logger
from worker.steps import place
from worker.steps.kit import Kit
from worker.steps.persistence import persist
from worker.steps.report import Report, Step, Wake
from worker.transfer import webvtt
from worker.transfer.captions import flaw
from worker.transfer.fetch import UrlGone, fetch_text
from worker.transfer.guard import Guard
from worker.transfer.patience import Patience
from worker.transfer.stall import Floor

MOST_BYTES = 64 << 20

# A message begins no more of them than so many, nor later than this; each may take so long.
MOST_AT_ONCE = 20
MESSAGE_SECONDS = 20.0
PATIENCE_SECONDS = 40.0
# So much later those are taken up that the storage did not take, as long as Uplynk has the job.
STORAGE_AGAIN = timedelta(minutes=10)
STORAGE_MOST = timedelta(hours=72)
# For so long the job of an export stays whose captions are just asked for.
JOB_STAYS = timedelta(minutes=5)
# How soon another message goes on, where there are more.
NEXT = timedelta(seconds=1)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What became of the captions.

    Attributes:
        captions: what is known of them.
        url: where they are stored.
        webvtt_url: where they are stored as WebVTT as well.
        note: what is wrong with them, for a person.
    """

    captions: Captions
    url: str | None = None
    webvtt_url: str | None = None
    note: str | None = None


def bring(kit: Kit, export: Export, guard: Guard) -> Found:
    """Bring the captions of `export` into storage, if there are any.

    That they can't be told, or make no sense, is no error: nothing waits for them.

    Raises:
        Transient: the storage did not take them.
        ClaimLost, Stopping: what `guard` raises.
    """
    floor = Floor(kit.settings.download_min_bytes_per_second)
    url = f"{export.url}.ttml"
    try:
        body = fetch_text(kit.http(), url, guard=guard, most_bytes=MOST_BYTES, floor=floor)
    except UrlGone as error:
        if error.is_not_found:
            return Found(Captions.ABSENT)
        return Found(Captions.UNKNOWN, note=error.message)
    except (Transient, Permanent) as error:
        return Found(Captions.UNKNOWN, note=error.message)
    if wrong := flaw(body):
        return _kept_aside(kit, export, body, wrong, guard)
    stored_at = kit.storage.publish(
        body,
        place.beside(kit.settings, export, ".ttml"),
        content_type="application/ttml+xml",
        check=guard.check,
    )
    webvtt_url, note = _as_webvtt(kit, export, body, guard)
    return Found(Captions.PRESENT, stored_at, webvtt_url, note)


def _kept_aside(kit: Kit, export: Export, body: bytes, wrong: str, guard: Guard) -> Found:
    """Store what is no TTML under a name that nobody takes for captions."""
    said = f"what came is no TTML ({wrong})"
    if body:
        kept_at = kit.storage.publish(
            body,
            place.beside(kit.settings, export, ".ttml.rejected"),
            content_type="application/octet-stream",
            check=guard.check,
        )
        said = f"{said}; it is kept at {kept_at}"
    return Found(Captions.UNKNOWN, note=said)


def _as_webvtt(
    kit: Kit, export: Export, body: bytes, guard: Guard
) -> tuple[str | None, str | None]:
    """Store the captions as WebVTT as well, if that is wanted; return where, or why not."""
    if not kit.settings.captions_webvtt:
        return None, None
    try:
        written = webvtt.webvtt(body)
    except webvtt.NotConverted as error:
        return None, f"no WebVTT was made of them: {error}"
    key = place.beside(kit.settings, export, ".vtt")
    return kit.storage.publish(written, key, content_type="text/vtt", check=guard.check), None


def captions(kit: Kit) -> Report:
    """Ask again for captions that could not be told when their films were stored.

    To take an export up uses up one of the times at which it is asked for: whoever dies at it has
    asked once, and nobody needs a claim. Two who ask at once find the same.
    """
    message = Patience(MESSAGE_SECONDS, kit.stopping)
    found = Counter[str]()
    while found.total() < MOST_AT_ONCE and not (message.is_over or kit.stopping()):
        export = _taken(kit)
        if export is None:
            break
        with about(export_id=export.id):
            found[_asked(kit, export)] += 1
    with kit.sessions.begin() as session:
        due_at = claims.next_captions_due(session, account=kit.slicer.owner)
    wakes = (Wake(Step.CAPTIONS, at=max(due_at, kit.now() + NEXT)),) if due_at else ()
    return Report(dict(found), wakes)


def columns(found: Found, *, stored_at: datetime, now: datetime) -> dict[str, Any]:
    """Return the columns that say what became of the captions, and when they are asked again."""
    is_unknown = found.captions is Captions.UNKNOWN
    return {
        "captions": found.captions,
        "captions_url": found.url,
        "webvtt_url": found.webvtt_url,
        "captions_note": found.note,
        "captions_due_at": pace.captions_again(stored_at, now=now) if is_unknown else None,
    }


def _taken(kit: Kit) -> Export | None:
    now = kit.now()
    with kit.sessions.begin() as session:
        export = claims.captions_due(session, now=now, account=kit.slicer.owner)
        if export is not None:
            export.captions_due_at = pace.captions_again(export.state_since, now=now)
            if export.job_delete_at is not None:  # while they are asked for, they have their job
                export.job_delete_at = max(export.job_delete_at, now + JOB_STAYS)
    return export


def _asked(kit: Kit, export: Export) -> str:
    """Bring the captions if they can be had now; return what became of them, in a word."""
    try:
        found = bring(kit, export, Patience(PATIENCE_SECONDS, kit.stopping))
    except Stopping:
        _put_off(kit, export, timedelta())
        return "left"
    except Transient as error:
        _log.warning("captions not stored", code=error.code, message=error.message)
        _put_off(kit, export, STORAGE_AGAIN, error.message)
        return "not stored"
    persist(kit, lambda: _record(kit, export, found))
    _log.info("captions asked again", captions=str(found.captions))
    return str(found.captions)


def _record(kit: Kit, export: Export, found: Found) -> None:
    with kit.sessions.begin() as session:
        held = claims.locked(session, export.id)
        if held is not None and held.captions is Captions.UNKNOWN:
            said = columns(found, stored_at=held.state_since, now=kit.now())
            for name, value in said.items():
                setattr(held, name, value)


def _put_off(kit: Kit, export: Export, delay: timedelta, note: str | None = None) -> None:
    """Have them asked for after `delay`, unless Uplynk has forgotten the job by then."""
    with kit.sessions.begin() as session:
        now = kit.now()
        held = claims.locked(session, export.id)
        # another had them in the meantime, or the export is not on record any more
        if held is None or held.captions is not Captions.UNKNOWN:
            return
        is_worth_it = now - held.state_since < STORAGE_MOST
        held.captions_due_at = now + delay if is_worth_it else None
        held.captions_note = note or held.captions_note
