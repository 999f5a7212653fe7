"""Play: an export goes its way while a fault strikes it, on a clock that jumps to what is due."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from emulator.control import Control
from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from models import Request, State
from models.state import TERMINAL
from tests.databases import Files
from tests.engines import Lent
from tests.factories import Clock, an_asset, make_kit
from tests.faults.cases import Case
from worker import steps
from worker.steps import Kit, Report

# Whatever is tried for so long ends; whatever has not ended after that waits for ever.
RETRY_HOURS, TOTAL_HOURS, WATCHED_HOURS = 0.25, 0.5, 1.0
STILL = "still"  # what is said of an export that has not ended
_A_MOMENT = timedelta(seconds=1)

CALLS = (
    "jobs/create_export",
    "jobs/list",
    "jobs/get",
    "jobs/cancel",
    "asset/get",
    "media",
    "captions",
)

_STEPS = {
    State.REQUESTED: steps.submit,
    State.SUBMITTING: steps.submit,
    State.EXPORTING: steps.poll,
}


def uplynk(folder: Path) -> EmulatorSettings:
    """Return what the emulator is like: time stands still, unless it is put forward."""
    return EmulatorSettings(speed=0, media_seconds=1, captions="all", media_dir=folder)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the export.

    Attributes:
        codes: of the failures on its way, in order; one that came again and again is there once.
        end: its last state, with the code of the error or what became of the captions.
        calls: how often each was made.
        jobs: how many were paid for.
        minutes: how long it took.
    """

    codes: tuple[str, ...]
    end: str
    calls: Counter[str]
    jobs: int
    minutes: float


@dataclass(frozen=True, slots=True)
class Board:
    """What is played on: an emulator that is as `uplynk` says, and a database.

    The database is as new for each play. Its engine stays, with the queries that it has compiled.
    """

    emulator: Emulator
    files: Files
    lent: Lent


@contextmanager
def board() -> Iterator[Board]:
    """Give a board; nothing is left of it afterwards."""
    with TemporaryDirectory() as name, Emulator(uplynk(Path(name))) as emulator:
        files = Files(Path(name))
        yield Board(emulator, files, Lent(files.url))


def play(case: Case, board: Board, *, times: int | None) -> Outcome:
    """Let the fault strike so often (None: always), and return what became of an export.

    Args:
        case: the fault, and the stage that it strikes.
        board: what is played on.
        times: how often it strikes.
    """
    with (
        TemporaryDirectory() as name,
        board.files.one(Path(name)) as url,
        board.lent.to(url) as sessions,
    ):
        return _played(case, board.emulator, times, sessions, Path(name))


def _played(
    case: Case,
    emulator: Emulator,
    times: int | None,
    sessions: sessionmaker[Session],
    folder: Path,
) -> Outcome:
    control = emulator.control
    control.reset()
    clock = Clock()
    kit = make_kit(
        sessions,
        folder,
        emulator=emulator,
        now=clock,
        retry_deadline_hours=RETRY_HOURS,
        export_deadline_hours=TOTAL_HOURS,
        total_deadline_hours=TOTAL_HOURS,
    )
    asset, request_id = an_asset(), str(uuid4())
    if case.stage.comes_by:
        control.fault(**case.stage.comes_by)
    control.fault(case.stage.call, case.kind, times=times, **case.parameters)
    began = clock()
    with capture_logs() as logs:
        steps.create(kit, request_id, {"asset": asset})
        _follow(kit, clock, emulator, request_id, case)
    _see_that_it_is_true(kit, control, request_id)
    return Outcome(
        codes=tuple(dict.fromkeys(str(line["code"]) for line in logs if "code" in line)),
        end=_end(_request(kit, request_id)),
        calls=Counter({call: control.calls()["calls"].get(call, 0) for call in CALLS}),
        jobs=len(control.jobs(asset)),
        minutes=(clock() - began) / timedelta(minutes=1),
    )


def _follow(kit: Kit, clock: Clock, emulator: Emulator, request_id: str, case: Case) -> None:
    """Take each step when it is due, until there is none or the time is over."""
    until = clock() + timedelta(hours=WATCHED_HOURS)
    to_cancel = case.stage.is_cancelled
    while clock() < until:
        request = _request(kit, request_id)
        export = request.export
        if request.state is State.EXPORTING and to_cancel:
            steps.cancel(kit.sessions, request_id, now=clock())
            to_cancel = False
            continue
        if export is None:
            return
        if export.state in TERMINAL:
            if export.captions_due_at is None:
                return
            _move(clock, emulator, export.captions_due_at - clock())
            steps.captions(kit)
            continue
        if export.due_at is not None and export.due_at > clock():
            _move(clock, emulator, export.due_at - clock())
            continue
        if export.state is State.DOWNLOADING:
            report = steps.download(kit, export.id)
        else:
            report = _STEPS[export.state](kit)
        _wait(kit, clock, emulator, report)


def _wait(kit: Kit, clock: Clock, emulator: Emulator, report: Report) -> None:
    """While Uplynk counts as away, wait until the step is to be taken again."""
    later = [wake.at for wake in report.wakes if wake.at is not None and wake.at > clock()]
    if kit.circuit.is_open:
        _move(clock, emulator, min(later, default=clock() + _A_MOMENT) - clock())


def _move(clock: Clock, emulator: Emulator, by: timedelta) -> None:
    clock.time += by
    emulator.advance(by.total_seconds())


def _request(kit: Kit, request_id: str) -> Request:
    with kit.sessions.begin() as session:
        return session.get_one(Request, request_id)


def _end(request: Request) -> str:
    export = request.export
    assert export is not None
    if export.state is State.STORED:
        return f"stored; captions {export.captions}"
    if export.state in TERMINAL:
        return f"{export.state}: {export.error_code}"
    return f"{export.state} {STILL}"


def _see_that_it_is_true(kit: Kit, control: Control, request_id: str) -> None:
    """Look at the file of an export that says that it is stored."""
    export = _request(kit, request_id).export
    assert export is not None
    path = Path(str(export.storage_url).removeprefix("file://"))
    if export.state is State.STORED:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        assert found == export.sha256 == control.media(str(export.job_id))["sha256"]
