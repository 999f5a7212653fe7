"""Summary: batches as a person wants to see them, and as programs do."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from rich.filesize import decimal
from rich.markup import escape

from models import State
from worker import printing
from worker.batches import Totals
from worker.printing import span
from worker.tables import clock


def table(found: Sequence[Totals], *, width: int | None) -> Iterable[str]:
    """Return a line for each batch, below a line that names the columns, fitted to the width."""
    heads = (
        f"{'BEGUN':<10}  {'REQUESTS':>8}  {'STORED':>8}  {'FAILED':>6}  {'LEFT':>8}  {'ETA':>11}"
    )
    room = None if width is None else max(width - len(heads) - 2, len("BATCH"))
    yield f"[bold]{heads}  BATCH[/bold]"
    for each in found:
        failed = each.states.get(State.FAILED, 0)
        name = escape(printing.fitted(each.name, room))
        yield (
            f"{clock(each.created_at):.10}  {each.requests:>8,}  {each.stored:>8,}  {failed:>6,}"
            f"  {each.left:>8,}  {span(each.time_left):>11}  {name}"
        )


def each(found: Sequence[Totals]) -> Iterable[str]:
    """Return the lines that tell of each batch what there is to tell."""
    for totals in found:
        yield f"[bold]{escape(totals.name)}[/bold], begun {clock(totals.created_at)}"
        for state in State:
            if number := totals.states.get(state):
                yield f"{number:>9,} {state}"
        for code, number in sorted(totals.codes.items(), key=lambda item: -item[1]):
            yield f"{number:>9,} of these failed with {escape(code)}"
        films = timedelta(seconds=round(totals.seconds))
        yield f"{decimal(totals.size_bytes):>9} stored, of films that last {films}"
        if totals.left:
            yield f"{totals.lately[0]:>9,} stored in the last hour; {span(totals.time_left)} left"
        yield ""


def line(totals: Totals) -> str:
    """Return how far a batch has come, in one line."""
    said = f"{totals.stored:,} of {totals.requests:,} stored"
    for state in State:
        number = totals.states.get(state)
        if number and state is not State.STORED:
            said += f", {number:,} {state}"
    return said + (f"; {span(totals.time_left)} left" if totals.left else "")


def as_json(totals: Totals) -> dict[str, object]:
    """Return a batch's totals as JSON values."""
    left = totals.time_left
    return {
        "batch": totals.name,
        "created_at": totals.created_at.isoformat(),
        "requests": totals.requests,
        "left": totals.left,
        "states": {str(state): totals.states.get(state, 0) for state in State},
        "codes": dict(totals.codes),
        "size_bytes": totals.size_bytes,
        "film_seconds": totals.seconds,
        "stored_in_the_last_hour": totals.lately[0],
        "seconds_left": None if left is None else round(left.total_seconds()),
    }
