"""Runs: assets are exported by an embedded installation, while somebody watches."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from models import Audio, Request, State
from models.database import open_engine, open_sessions
from models.state import TERMINAL
from worker.embedded import Installation
from worker.errors import WorkerDied
from worker.printing import plain
from worker.tables import state_of

LOOK_SECONDS = 0.25

# Sends `exports.create` by name: the broker's URL, the request's id, the keyword arguments.
Send = Callable[[str, str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An asset that is to be exported."""

    asset: str
    aaclc: bool = False

    @property
    def request_id(self) -> str:
        """The same id for the same wish: a run that is begun again goes on where it was."""
        return f"run-{self.asset}-{Audio.AAC_LC if self.aaclc else Audio.HE_AAC}"


def run(
    installed: Installation,
    wanted: Sequence[Wanted],
    *,
    send: Send,
    console: Console,
    told: Callable[[], bool],
) -> list[Request]:
    """Have the embedded worker export `wanted`; returns the requests, each in a terminal state.

    Raises:
        KeyboardInterrupt: it was `told` to stop.
        WorkerDied: the worker ended by itself; what it had begun can be gone on with.
    """
    for each in wanted:
        arguments = {"asset": each.asset, "aaclc": each.aaclc}
        send(installed.settings.celery_broker_url, each.request_id, arguments)
    ids = [each.request_id for each in wanted]
    engine = open_engine(installed.settings.database_url)
    sessions = open_sessions(engine)
    show = _bars if console.is_terminal else _lines
    try:
        with show(console) as look:
            while True:
                if told():
                    raise KeyboardInterrupt
                requests = _requests(sessions, ids)
                look(requests)
                if len(requests) == len(ids) and all(r.state in TERMINAL for r in requests):
                    return requests
                if (status := installed.worker.process.poll()) is not None:
                    raise WorkerDied(
                        f"the worker ended with status {status}:\n{_end_of(installed.log)}"
                    )
                time.sleep(LOOK_SECONDS)
    finally:
        engine.dispose()


def _requests(sessions: sessionmaker[Session], ids: Sequence[str]) -> list[Request]:
    with sessions.begin() as session:
        found = {r.id: r for r in session.scalars(select(Request).where(Request.id.in_(ids)))}
    return [found[request_id] for request_id in ids if request_id in found]


def _end_of(log: Path, lines: int = 5) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def _lines(console: Console) -> Any:  # noqa: ANN401  (a context of the function below)
    """Show a plain line for each change of state."""
    seen: dict[str, State] = {}

    def look(requests: Iterable[Request]) -> None:
        for request in requests:
            if seen.get(request.id) is not request.state:
                seen[request.id] = request.state
                error = f"  {request.error[1]}" if request.error else ""
                line = f"{request.asset}  {request.audio}  {request.state}{error}"
                console.print(plain(line), markup=False)

    yield look


@contextmanager
def _bars(console: Console) -> Any:  # noqa: ANN401  (a context of the function below)
    """Show a bar for each file: moving while Uplynk works, filling while the file comes."""
    progress = Progress(
        TextColumn("{task.description}"),
        TextColumn("{task.fields[state]}"),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    bars: dict[str, TaskID] = {}

    def look(requests: Iterable[Request]) -> None:
        for request in requests:
            if request.id not in bars:
                name = f"{request.asset} {request.audio}"
                bars[request.id] = progress.add_task(name, total=None, state="")
            ended = request.state in TERMINAL
            done = (request.export.bytes_done if request.export else 0) or 0
            total = (request.export.bytes_total if request.export else None) or (
                max(done, 1) if ended else None
            )
            progress.update(
                bars[request.id],
                state=f"{state_of(request)}",
                completed=total if request.state is State.STORED else done,
                total=total,
            )
            if ended:
                progress.stop_task(bars[request.id])

    with progress:
        yield look
