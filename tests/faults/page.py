"""Page: docs/faults.md, as what was played out makes it."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from tests.faults.cases import Case, cases
from tests.faults.play import RETRY_HOURS, TOTAL_HOURS, WATCHED_HOURS, Board, Outcome, play

PATH = Path(__file__).parents[2] / "docs/faults.md"

_HEAD = f"""\
# What becomes of an export when Uplynk fails

Each row is a fault of the [emulator's](emulator.md#faults), played out twice against one export:
it strikes once, and then all goes well; and it strikes always. `tests/faults` plays them, and
compares what became of the export with this page; `.venv/bin/python -m tests.faults` writes it.

"Errors" are the [codes](errors.md) of the steps that failed on the way. "Calls" are how often
each was made: *create* is `jobs/create_export`; *list*, *get* and *cancel* are `jobs/list`,
`jobs/get` and `jobs/cancel`; *asset* is `asset/get`; *film* and *captions* are requests for the
files. "Paid" is how many jobs Uplynk made.

What strikes always was played with `RETRY_DEADLINE_HOURS={RETRY_HOURS:g}`, with {TOTAL_HOURS:g} for
`EXPORT_DEADLINE_HOURS` and `TOTAL_DEADLINE_HOURS`, and watched for {WATCHED_HOURS:g} hour. With the
defaults it takes a day; the waits between two tries grow to five minutes at the most.
"""

_COLUMNS = (
    "fault", "errors", "once: it is", "calls", "paid", "always: it is", "after", "calls", "paid",
)  # fmt: skip

_SHORT = {
    "jobs/create_export": "create",
    "jobs/list": "list",
    "jobs/get": "get",
    "jobs/cancel": "cancel",
    "asset/get": "asset",
    "media": "film",
    "captions": "captions",
}


def played(case: Case, board: Board) -> str:
    """Return the row of a case that is played out."""
    once, always = (play(case, board, times=times) for times in (1, None))
    return row(case, once, always)


def row(case: Case, once: Outcome, always: Outcome) -> str:
    """Return the row of a case."""
    codes = ", ".join(f"`{code}`" for code in dict.fromkeys((*once.codes, *always.codes)))
    cells = (
        f"`{case}`", codes or "none",
        once.end, _calls(once), str(once.jobs),
        always.end, f"{always.minutes:.0f} min", _calls(always), str(always.jobs),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _calls(outcome: Outcome) -> str:
    return ", ".join(f"{_SHORT[call]} {count}" for call, count in outcome.calls.items() if count)


def page(row_of: Callable[[Case], str]) -> str:
    """Return the whole page."""
    return "\n".join(_lines(row_of)) + "\n"


def _lines(row_of: Callable[[Case], str]) -> Iterator[str]:
    yield _HEAD
    for stage, struck in groupby(cases(), key=lambda case: case.stage):
        yield f"## {stage.title}: `{stage.call}`\n"
        yield f"| {' | '.join(_COLUMNS)} |"
        yield "|---" * len(_COLUMNS) + "|"
        yield from map(row_of, struck)
        yield ""
