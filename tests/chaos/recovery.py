"""Recovery: how long what a killed worker held waited until somebody else took it up."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from uuid import UUID

from tests.chaos.database import Change
from tests.chaos.fleet import Kill

# From then until then.
Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Recovery:
    """That an export was held by a killed worker, and taken up by another.

    Attributes:
        seconds: from the kill until then; None for never.
        is_undisturbed: whether broker and database were there all that time.
        claim_left: seconds that the claim had left when the worker was killed.
    """

    export_id: UUID
    state: str
    hand: str
    at: datetime
    claim_left: float
    seconds: float | None
    is_undisturbed: bool


def recoveries(
    audit: Sequence[Change], kills: Sequence[Kill], *, outages: Sequence[Span] = ()
) -> list[Recovery]:
    """Return what became of each export that a killed worker held, kill by kill.

    Args:
        audit: all changes of all exports, in order.
        kills: who was killed when.
        outages: when the broker or the database was away.
    """
    by_export: dict[UUID, list[Change]] = defaultdict(list)
    for change in audit:
        by_export[change.export_id].append(change)
    found = [_of(changes, kill, outages) for kill in kills for changes in by_export.values()]
    return [each for each in found if each is not None]


def _of(changes: Sequence[Change], kill: Kill, outages: Sequence[Span]) -> Recovery | None:
    before = [change for change in changes if change.at <= kill.at]
    if not before or not _held(before[-1], kill):
        return None
    held = before[-1]
    assert held.claimed_until is not None
    # what the dying worker had sent to the database may be done there a moment after its death
    others = [c for c in changes if c.at > kill.at and not _is_theirs(c, kill)]
    if any(_is_theirs(c, kill) and c.claim is None for c in changes if c.at > kill.at):
        return None
    return Recovery(
        held.export_id,
        held.state,
        kill.hand,
        kill.at,
        (held.claimed_until - kill.at).total_seconds(),
        (others[0].at - kill.at).total_seconds() if others else None,
        bool(others)
        and not any(begin <= others[0].at and kill.at <= end for begin, end in outages),
    )


def _held(last: Change, kill: Kill) -> bool:
    """Return whether it was the killed one's: a claim that had run out is nobody's any more."""
    return last.claimed_until is not None and (
        last.claimed_until > kill.at and _is_theirs(last, kill)
    )


def _is_theirs(change: Change, kill: Kill) -> bool:
    return change.who == kill.hand and (kill.ports is None or change.port in kill.ports)


def percentile(values: Sequence[float], part: float) -> float | None:
    """Return the value that this part of the values does not exceed; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def middle(values: Sequence[float]) -> float | None:
    """Return the median; None of none."""
    return median(values) if values else None
