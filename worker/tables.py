"""Tables: requests and exports as a person wants to see them."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from models import Export, History, Request, State

_COLOURS = {State.STORED: "green", State.FAILED: "red", State.CANCELLED: "yellow"}


def console() -> Console:
    """Return the console for standard output; its lines are folded by nobody but the terminal."""
    return Console(highlight=False, soft_wrap=True)


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
        yield f"{'request':<9} [bold]{escape(request.id)}[/bold]"
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
            yield from (f"{name:<9} {escape(str(value))}" for name, value in facts.items() if value)
        if request.error:
            yield f"{'error':<9} {escape(': '.join(request.error))}"
        yield ""


def listing(requests: Sequence[Request]) -> Iterable[str]:
    """Return a line for each request, below a line that names the columns; ids stand whole."""
    yield f"[bold]{'CREATED':<19}  {'STATE':<11}  {'ASSET':<32}  REQUEST[/bold]"
    for request in requests:
        error = f"  {request.error[0]}" if request.error else ""
        about = escape(f"{request.asset or '':<32}  {request.id}{error}")
        yield f"{clock(request.created_at)}  {state_of(request, width=11)}  {about}"


def story(request: Request, history: Sequence[History]) -> Iterable[str]:
    """Return the lines that tell a request's story, and its export's."""
    facts: dict[str, object] = {
        "request": request.id,
        "state": str(request.state),
        "asset": request.asset,
    }
    if export := request.export:
        facts |= {
            "export": str(export.id),
            "audio": str(export.audio),
            "job": export.job_id and f"{export.job_id} ({export.job_state}, {export.polls} looks)",
            "file": where(export.storage_url),
            "captions": export.captions and f"{export.captions} {where(export.captions_url)}",
            "webvtt": where(export.webvtt_url),
            "note": export.captions_note,
            "ask again": export.captions_due_at and clock(export.captions_due_at),
            "size": export.size_bytes and f"{export.size_bytes} bytes",
            "duration": export.duration_seconds and duration(export),
            "picture": export.video_codec
            and f"{export.video_codec} {export.width}x{export.height}",
            "sound": export.audio_codec and f"{export.audio_codec} {export.audio_profile or ''}",
            "progress": export.state is State.DOWNLOADING and progress(export),
            "sha256": export.sha256,
            "next step": export.due_at and clock(export.due_at),
        }
    if request.error:
        facts["error"] = ": ".join(request.error)
    yield from (f"{name:>9}  {value}" for name, value in facts.items() if value)
    if history:
        yield ""
    last: datetime | None = None
    for row in history:
        after = f"+{(row.at - last).total_seconds():.1f} s" if last else ""
        yield f"{clock(row.at)}  {after:>10}  {row.to_state:<11}  {row.reason}"
        last = row.at


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
