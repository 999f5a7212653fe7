"""Report: a verdict in words, as JSON, and as evidence of what went wrong."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import inspect

from models import Base
from tests.chaos.recovery import Recovery, middle, percentile
from tests.chaos.run import Verdict
from tests.chaos.schedule import Event
from tests.chaos.world import CLAIM_SECONDS, SWEEP_SECONDS

MOST_SHOWN = 5  # violations of one invariant


def plan(seed: int, events: Sequence[Event]) -> Iterator[str]:
    """Give the schedule, line by line."""
    yield f"The schedule of seed {seed} (how the processes interleave is new in each run):"
    yield from (f"  {event}" for event in events)


def lines(verdict: Verdict) -> Iterator[str]:
    """Give the verdict, line by line."""
    yield f"Storm of {verdict.seconds:g} s, seed {verdict.seed}, all over in {verdict.took:.0f} s"
    yield "\nEvents (struck, found nothing to strike):"
    for kind, (struck, missed) in sorted(_events(verdict).items()):
        yield f"  {kind:18} {struck:4} {missed:4}"
    yield "\nFaults of Uplynk's (times that they were on, requests struck):"
    for (call, kind), (times, fired) in sorted(_faults(verdict).items()):
        yield f"  {call:20} {kind:14} {times:4} {fired:5}"
    yield "\nOutcomes:"
    for (state, code), number in sorted(_outcomes(verdict).items()):
        yield f"  {state:12} {code:20} {number:4}"
    yield "\nInvariants:"
    for name, violations in verdict.violations.items():
        yield f"  {'FAIL' if violations else 'ok  '} {name}"
        yield from (f"         {each.message}" for each in violations[:MOST_SHOWN])
        if len(violations) > MOST_SHOWN:
            yield f"         and {len(violations) - MOST_SHOWN} more"
    yield from ("", *_figures(verdict))


def _figures(verdict: Verdict) -> Iterator[str]:
    figures = summary(verdict)
    messages, stops = figures["messages"], figures["stops"]
    for name, found in figures["recovery"].items():
        yield (
            f"Held by a killed worker, {name.replace('_', ' ')}: {found['held']} exports; taken up"
            f" again after {_seconds(found['median'])} (median), {_seconds(found['p95'])}"
            f" (95th percentile), {_seconds(found['most'])} (most); never: {found['never']}"
        )
    yield f"CLAIM_SECONDS={CLAIM_SECONDS:g}, SWEEP_SECONDS={SWEEP_SECONDS:g}"
    yield (
        f"Messages resent by the CMS: {messages['wiped']} wiped with the broker,"
        f" {messages['vanished']} without excuse"
    )
    yield f"Workers asked to end: {stops['count']}; the slowest took {_seconds(stops['most'])}"
    yield f"Everything had ended {_seconds(verdict.calm.seconds)} after the storm"


def summary(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as JSON values."""
    stops = list(verdict.remains.leavings.stops.values())
    return {
        "seed": verdict.seed,
        "storm_seconds": verdict.seconds,
        "took_seconds": round(verdict.took, 1),
        "requests": len(verdict.remains.wishes),
        "exports": len(verdict.remains.records.exports),
        "jobs": len(verdict.remains.truth.jobs),
        "schedule": [str(event) for event in verdict.events],
        "events": _events(verdict),
        "strikes": [str(strike) for strike in verdict.strikes],
        "faults": [
            {"call": call, "kind": kind, "times": times, "fired": fired}
            for (call, kind), (times, fired) in sorted(_faults(verdict).items())
        ],
        "outcomes": [
            {"state": state, "code": code or None, "count": number}
            for (state, code), number in sorted(_outcomes(verdict).items())
        ],
        "invariants": {
            name: [each.message for each in violations]
            for name, violations in verdict.violations.items()
        },
        "recovery": {
            "in_all": _recovery(verdict.recoveries),
            "services_there": _recovery([r for r in verdict.recoveries if r.is_undisturbed]),
        },
        "recoveries": [_plain(asdict(each)) for each in verdict.recoveries],
        "claim_seconds": CLAIM_SECONDS,
        "sweep_seconds": SWEEP_SECONDS,
        "messages": {why: len(ids) for why, ids in verdict.calm.resent.items()},
        "stops": {"count": len(stops), "most": max(stops, default=None)},
        "calm_seconds": verdict.calm.seconds,
    }


def _recovery(recoveries: Sequence[Recovery]) -> dict[str, Any]:
    seconds = [each.seconds for each in recoveries if each.seconds is not None]
    return {
        "held": len(recoveries),
        "never": len(recoveries) - len(seconds),
        "median": middle(seconds),
        "p95": percentile(seconds, 0.95),
        "most": max(seconds, default=None),
    }


def _events(verdict: Verdict) -> dict[str, Sequence[int]]:
    """Return by kind how many events struck, and how many found nothing to strike."""
    found: dict[str, list[int]] = {}
    for strike in verdict.strikes:
        found.setdefault(strike.event.kind, [0, 0])[0 if strike.has_struck else 1] += 1
    return dict(found)


def keep_evidence(verdict: Verdict, path: Path) -> None:
    """Write what is on record of each export that an invariant complains of."""
    concerned = {each.export_id for found in verdict.violations.values() for each in found}
    records, truth = verdict.remains.records, verdict.remains.truth
    evidence = [
        {
            "violations": [
                each.message
                for found in verdict.violations.values()
                for each in found
                if each.export_id == export.id
            ],
            "export": _row(export),
            "history": [_row(row) for row in records.history.get(export.id, ())],
            "audit": [asdict(change) for change in verdict.audit if change.export_id == export.id],
            "jobs": [job for job in truth.jobs if job["asset"] == export.asset],
        }
        for export in records.exports
        if export.id in concerned
    ]
    path.write_text(json.dumps({**summary(verdict), "evidence": evidence}, indent=1, default=str))


def _outcomes(verdict: Verdict) -> Counter[tuple[str, str]]:
    exports = verdict.remains.records.exports
    return Counter((str(each.state), each.error_code or "") for each in exports)


def _faults(verdict: Verdict) -> Mapping[tuple[str, str], Sequence[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for struck in verdict.remains.truth.struck:
        entry = found.setdefault((struck.call, struck.kind), [0, 0])
        entry[0] += 1
        entry[1] += struck.fired
    return found


def _row(row: Base) -> dict[str, Any]:
    return {each.key: getattr(row, each.key) for each in inspect(row).mapper.column_attrs}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value if isinstance(value, int | float | None) else str(value)
        for key, value in values.items()
    }


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
