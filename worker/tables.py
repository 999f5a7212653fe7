"""Tables: requests and exports as a person wants to see them."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.cells import cell_len
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from models import Export, Request, State
from models.listing import Listed, Sort
from worker import printing

# A request's id is cut off behind so much of it, on a terminal: that is a UUID's length.
LONGEST_ID = 36
LEAST_OF_ASSET = 8
BEFORE_ID = len(f"{'AGE':<5}  {'STATE':<11}  ")

_COLOURS = {State.STORED: "green", State.FAILED: "red", State.CANCELLED: "yellow"}


def console() -> Console:
    """Return the console for standard output; its lines are folded by nobody but the terminal."""
    return Console(highlight=False, soft_wrap=True)


def width_of(console: Console) -> int | None:
    """Return how many cells the terminal has in a line; None where nobody looks at one."""
    return console.width if console.is_terminal else None


def state_of(request: Request, *, width: int = 0) -> str:
    """Return a request's state in the colour of its meaning, `width` characters wide at least."""
    return f"[{_COLOURS.get(request.state, 'cyan')}]{request.state:<{width}}[/]"


def where(url: str | None) -> str:
    """Return a storage URL as a person would use it: a file's is its path, relative to here."""
    if url is None:
        return ""
    parts = urlsplit(url)
    if parts.scheme != "file":
        return url
    path = Path(unquote(parts.path))
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def outcomes(requests: Sequence[Request]) -> Iterable[str]:
    """Return the lines that say what became of requests: each one's file and its facts, or why not.

    Paths and hashes stand whole on a line of their own, to be copied.
    """
    for request in requests:
        yield f"{'request':<9} [bold]{escape(printing.plain(request.id))}[/bold]"
        yield f"{'state':<9} {state_of(request)}"
        if export := request.export:
            facts = {
                "file": where(export.storage_url),
                "captions": where(export.captions_url),
                "webvtt": where(export.webvtt_url),
                "size": export.size_bytes and f"{decimal(export.size_bytes)}",
                "duration": export.duration_seconds and f"{export.duration_seconds:.1f} s",
                "sha256": export.sha256,
            }
            for name, value in facts.items():
                if value:
                    yield f"{name:<9} {escape(printing.plain(str(value)))}"
        if request.error:
            yield f"{'error':<9} {escape(printing.plain(': '.join(request.error)))}"
        yield ""


def listing(
    rows: Sequence[Listed], sort: Sort, *, now: datetime, width: int | None
) -> Iterable[str]:
    """Return a line for each request, below a line that names the columns.

    On a terminal they are fitted to its width; who reads from a pipe gets all of it (None).
    """
    ids = max((cell_len(printing.plain(row.request.id)) for row in rows), default=0)
    rest = None
    if width is not None:
        room = max(width - BEFORE_ID - 2, 2 * LEAST_OF_ASSET)  # for the id and what it is about
        ids = min(ids, LONGEST_ID, room - LEAST_OF_ASSET)
        rest = room - max(ids, len("REQUEST"))
    ids = max(ids, len("REQUEST"))
    of_what = "AGE" if sort is Sort.CREATED else "SINCE"
    yield f"[bold]{of_what:<5}  {'STATE':<11}  {'REQUEST':<{ids}}  ABOUT[/bold]"
    for row in rows:
        name = printing.fitted(row.request.id, None if width is None else ids)
        told = escape(f"{printing.filled(name, ids)}  {_about(row.request, rest)}".rstrip())
        yield f"{age(now - row.at):<5}  {state_of(row.request, width=11)}  {told}"


def _about(request: Request, cells: int | None) -> str:
    """Return the error's code and the asset, or its beginning where there is little room."""
    code, asset = request.error[0] if request.error else "", request.asset or ""
    if cells is not None and code and cells - len(code) < LEAST_OF_ASSET:
        return printing.fitted(code, cells)
    return printing.fitted(f"{code}  {asset}" if code else asset, cells)


def age(time: timedelta) -> str:
    """Return an age in five characters: its largest unit."""
    seconds = max(int(time.total_seconds()), 0)
    for unit, takes in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= takes:
            return f"{seconds // takes}{unit}"
    return f"{seconds}s"


def facts(request: Request) -> Iterator[tuple[str, object]]:
    """Give what is on record of a request and its export, each under a name."""
    yield "request", request.id
    yield "state", str(request.state)
    yield "asset", request.asset
    yield "requester", request.requester
    yield "batch", request.batch
    if export := request.export:
        yield "export", str(export.id)
        yield "audio", str(export.audio)
        looks = f"{export.polls} look{'s' * (export.polls != 1)}"
        yield "job", export.job_id and f"{export.job_id} ({export.job_state}, {looks})"
        yield "file", where(export.storage_url)
        yield "captions", export.captions and f"{export.captions} {where(export.captions_url)}"
        yield "webvtt", where(export.webvtt_url)
        yield "note", export.captions_note
        yield "ask again", export.captions_due_at and clock(export.captions_due_at)
        yield "size", export.size_bytes and f"{export.size_bytes} bytes"
        yield "duration", export.duration_seconds and duration(export)
        yield (
            "picture",
            export.video_codec and f"{export.video_codec} {export.width}x{export.height}",
        )
        yield "sound", export.audio_codec and f"{export.audio_codec} {export.audio_profile or ''}"
        yield "progress", export.state is State.DOWNLOADING and progress(export)
        yield "sha256", export.sha256
        yield "next step", export.due_at and clock(export.due_at)
    if request.error:
        yield "error", ": ".join(request.error)


def duration(export: Export) -> str:
    """Return how long a film lasts, and beside it how long its asset does, if that is known."""
    asset = export.asset_duration_seconds
    beside = f" (its asset: {asset:.3f} s)" if asset else ""
    return f"{export.duration_seconds:.3f} s{beside}"


def progress(export: Export) -> str:
    """Return how far a download has come, as a person reads it; nothing if that is not known."""
    if export.bytes_done is None:
        return ""
    said = decimal(export.bytes_done)
    if export.bytes_total is not None:
        said += f" of {decimal(export.bytes_total)}"
    if export.bytes_per_second:
        said += f", {decimal(int(export.bytes_per_second))}/s"
    if export.seconds_left is not None:
        said += f", {timedelta(seconds=round(export.seconds_left))} left"
    return said


def clock(time: datetime) -> str:
    """Return a time as a person reads it: UTC, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S")


def as_json(request: Request) -> dict[str, object]:
    """Return a request as JSON values, for programs."""
    export = request.export
    return {
        "request_id": request.id,
        "export_id": str(export.id) if export else None,
        "asset": request.asset,
        "audio": request.audio,
        "state": request.state,
        "priority": request.priority,
        "requester": request.requester,
        "batch": request.batch,
        "created_at": request.created_at.isoformat(),
        "job_id": export.job_id if export else None,
        "storage_url": export.storage_url if export else None,
        "bytes_done": export.bytes_done if export else None,
        "bytes_total": export.bytes_total if export else None,
        "bytes_per_second": export.bytes_per_second if export else None,
        "seconds_left": export.seconds_left if export else None,
        "size_bytes": export.size_bytes if export else None,
        "sha256": export.sha256 if export else None,
        "duration_seconds": export.duration_seconds if export else None,
        "asset_duration_seconds": export.asset_duration_seconds if export else None,
        "audio_profile": export.audio_profile if export else None,
        "captions": export.captions if export else None,
        "captions_url": export.captions_url if export else None,
        "captions_note": export.captions_note if export else None,
        "webvtt_url": export.webvtt_url if export else None,
        "error": dict(zip(("code", "message"), request.error, strict=True))
        if request.error
        else None,
        "metadata": request.metadata_,
    }
