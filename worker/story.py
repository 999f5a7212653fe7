"""Story: what became of an export, when and why, how long it took, and what it waits for."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from models import Export, History, Request, State
from models.pause import EVERYBODY
from models.state import TERMINAL
from worker import printing, tables
from worker.printing import span
from worker.remedies import REMEDIES

# A step that is overdue for longer waits for a worker that is not there.
OVERDUE = timedelta(minutes=1)

_WAITS = {
    State.REQUESTED: "its turn, and for room in the window (MAX_EXPORTING)",
    State.SUBMITTING: "word whether Uplynk has a job for it",
    State.EXPORTING: "Uplynk to finish its job",
    State.DOWNLOADING: "a worker that is free to bring its file",
}
# These wait for as long as others are before them.
_QUEUES = frozenset({State.REQUESTED, State.DOWNLOADING})


@dataclass(frozen=True, slots=True)
class Stay:
    """That an export was in a state.

    Attributes:
        state: which.
        since: when it came into it.
        reason: why.
        lasted: how long it was, or has been, in it; None if it has ended there.
    """

    state: State
    since: datetime
    reason: str
    lasted: timedelta | None


@dataclass(frozen=True, slots=True)
class Story:
    """What there is to tell of a request.

    Attributes:
        request: the request.
        stays: the states of its export, the first first.
        waits_for: what has to happen next, in words; None if it has ended.
    """

    request: Request
    stays: Sequence[Stay]
    waits_for: str | None

    @property
    def lasted(self) -> timedelta:
        """How long it took, or has taken so far."""
        return sum((stay.lasted for stay in self.stays if stay.lasted), timedelta())

    @property
    def spent(self) -> Mapping[State, timedelta]:
        """How long it was in each state, the longest first."""
        times: dict[State, timedelta] = {}
        for stay in self.stays:
            if stay.lasted is not None:
                times[stay.state] = times.get(stay.state, timedelta()) + stay.lasted
        return dict(sorted(times.items(), key=lambda item: -item[1]))


def told(
    request: Request, history: Sequence[History], *, paused: Collection[str], now: datetime
) -> Story:
    """Return the story of a request; `paused` are those of whom nothing is asked for."""
    export = request.export
    waits = None if export is None or request.state in TERMINAL else waiting(export, paused, now)
    return Story(request, list(_stays(history, now)), waits)


def _stays(history: Sequence[History], now: datetime) -> Iterator[Stay]:
    for row, end in zip(history, [*(row.at for row in history), now][1:], strict=True):
        is_over = row is history[-1] and row.to_state in TERMINAL
        yield Stay(row.to_state, row.at, row.reason, None if is_over else end - row.at)


def waiting(export: Export, paused: Collection[str], now: datetime) -> str | None:
    """Return in words what an export waits for; None if it has ended."""
    if export.due_at is None:
        return None
    left = export.due_at - now
    if export.claim is not None and left > timedelta():
        return f"a worker that is at it; should it die, another takes over in {span(left)}"
    if export.unwanted_since is not None:
        return "its job to be stopped: no request wants it any more"
    if export.state is State.REQUESTED and not {EVERYBODY, export.requester}.isdisjoint(paused):
        return "`uplynk-export resume`: it is paused"
    return _step(export, left, now)


def _step(export: Export, left: timedelta, now: datetime) -> str:
    if left > timedelta():
        if export.attempts:
            return f"its next try in {span(left)}, after {_failures(export, now)}"
        return f"{_WAITS[export.state]}; the next look is in {span(left)}"
    if -left > OVERDUE and export.state not in _QUEUES:
        return f"a worker: its step has been due for {span(-left)}"
    return _WAITS[export.state]


def _failures(export: Export, now: datetime) -> str:
    many = "a failure" if export.attempts == 1 else f"{export.attempts} failures in a row"
    return many if export.failing_since is None else f"{many} in {span(now - export.failing_since)}"


def lines(story: Story, *, width: int | None) -> Iterable[str]:
    """Return the lines that tell it; reasons are folded to the width, and all else stands whole."""
    yield from (
        f"{name:>9}  {printing.plain(str(value))}" for name, value in _facts(story) if value
    )
    if story.stays:
        yield ""
    for stay in story.stays:
        took = "" if stay.lasted is None else short(stay.lasted)
        head = f"{tables.clock(stay.since)}  {stay.state:<11}  {took:>11}  "
        first, *rest = printing.folded(stay.reason, width and max(width - len(head), 20))
        yield head + first
        yield from (" " * len(head) + each for each in rest)


def _facts(story: Story) -> Iterator[tuple[str, object]]:
    yield from tables.facts(story.request)
    if story.stays:
        spent = ", ".join(f"{state} {short(time)}" for state, time in story.spent.items())
        so_far = " so far" if story.stays[-1].lasted is not None else ""
        yield "took", f"{short(story.lasted)}{so_far}{spent and f': {spent}'}"
    yield "waits for", story.waits_for
    if story.request.error and (remedy := REMEDIES.get(story.request.error[0])):
        yield "to do", remedy.to_do


def short(time: timedelta) -> str:
    """Return a time as a person reads it, below a minute to a tenth of a second."""
    seconds = time.total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else span(time)  # noqa: PLR2004  (a minute)


def as_json(story: Story) -> dict[str, object]:
    """Return a story as JSON values."""
    export = story.request.export
    return {
        **tables.as_json(story.request),
        "waits_for": story.waits_for,
        "next_step_at": export.due_at.isoformat() if export and export.due_at else None,
        "failures_in_a_row": export.attempts if export else 0,
        "seconds": round(story.lasted.total_seconds(), 3),
        "seconds_in": {
            str(state): round(time.total_seconds(), 3) for state, time in story.spent.items()
        },
        "history": [
            {
                "at": stay.since.isoformat(),
                "state": stay.state,
                "seconds": None if stay.lasted is None else round(stay.lasted.total_seconds(), 3),
                "reason": stay.reason,
            }
            for stay in story.stays
        ],
    }
