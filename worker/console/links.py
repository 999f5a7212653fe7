"""Links: how the page says things, and where it leads."""

import json
import re
from datetime import datetime, timedelta
from urllib.parse import quote

from markupsafe import Markup, escape
from rich.filesize import decimal

from models import Export, Request, State
from worker import printing, tables
from worker.settings import ConsoleSettings

_COLOURS = {
    State.STORED: "green",
    State.FAILED: "red",
    State.CANCELLED: "yellow",
    State.DOWNLOADING: "cyan",
    State.EXPORTING: "azure",
    State.SUBMITTING: "indigo",
    State.REQUESTED: "secondary",
}


def to(kind: str, pk: object) -> str:
    """Return the path of a row's own page; a request's id may hold any character."""
    return f"/{kind}/details/{quote(str(pk), safe='')}"


def clock(time: datetime | None) -> str:
    """Return a time as a person reads it: UTC, to the second, and said so."""
    return f"{tables.clock(time)} UTC" if time else ""


def ago(time: datetime | None, now: datetime) -> str:
    """Return how far away a time is, in the one direction or the other."""
    if time is None:
        return ""
    about = " ".join(printing.span(abs(now - time)).split()[:2])
    return f"in {about}" if time > now else f"{about} ago"


def span(time: timedelta | None) -> str:
    """Return how long something takes."""
    if time is None:
        return ""
    if timedelta() <= time < timedelta(seconds=10):
        return f"{time.total_seconds():.1f} s"
    return printing.span(time)


def size(number: float | None) -> str:
    """Return a number of bytes in the unit that suits it."""
    return "" if number is None else decimal(int(number))


def colour(state: State) -> str:
    """Return the colour of a state's meaning."""
    return _COLOURS[state]


def percent(export: Export) -> int | None:
    """Return how much of a file has come, in hundredths; None if that can't be told."""
    if export.state is not State.DOWNLOADING or export.bytes_done is None or not export.bytes_total:
        return None
    return min(100, round(100 * export.bytes_done / export.bytes_total))


def marked(text: str) -> Markup:
    """Return a remedy's text with its `code` and its *stress* in HTML."""
    told = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    told = re.sub(r"\*(\w+)\*", r"<em>\1</em>", told)
    return Markup(told)  # noqa: S704  (what came from outside was escaped above)


def pretty(value: object) -> str:
    """Return a JSON value as a person reads it."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def says(request: Request) -> str:
    """Return the sentence of a request's error."""
    return request.error[1] if request.error else ""


def file_link(settings: ConsoleSettings, url: str | None) -> str | None:
    """Return where a browser finds a stored file, if that was set."""
    base, home = settings.console_files_url, settings.storage_url.rstrip("/") + "/"
    if not base or not url or not url.startswith(home):
        return None
    return f"{base}/{quote(url.removeprefix(home), safe='/%')}"
