"""Tables: what was measured, as Markdown; and the page that they are put into."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from statistics import median
from typing import Any

Row = Mapping[str, Any]

OURS, TEXTBOOK = "ours", "textbook"
RATE, CPU = "exports a second", "CPU of the worker, ms an export"
CALLS, LAG = "calls to Uplynk an export", "seconds from a job's end to the look that saw it"
# From here on a number needs no places, one, or two; below that two digits are shown.
BOUNDS = ((100.0, ",.0f"), (10.0, ".1f"), (1.0, ".2f"))
# A ratio up to this is shown as a fraction.
HALF = 0.5
# So few cores of others' are no disturbance.
QUIET_CORES = 0.1


def shown(number: float) -> str:
    """Return a number as a person reads it: about three digits."""
    rounded = float(f"{number:.3g}")  # 99.97 is shown as 100 is
    for least, how in BOUNDS:
        if abs(rounded) >= least:
            return format(number, how)
    return f"{number:.2g}"


def as_ratio(ratio: float) -> str:
    """Return a ratio as a person reads it: `1/50`, or `1.25`."""
    return f"1/{shown(1 / ratio)}" if 0 < ratio <= HALF else f"{ratio:.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, its numbers and all else as they are given."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def beside(rows: Sequence[Row], measures: Mapping[str, Callable[[Row], float]]) -> list[list[str]]:
    """Return a line for each measure: ours, the textbook's, and what the one is to the other.

    Of several runs, which were made in turns, it is the middle one's, and what the one is to the
    other in the middle round: so what comes over the machine for a while is not in it.
    """
    lines = []
    for name, measure in measures.items():
        values = [middle(rows, whose, measure) for whose in (OURS, TEXTBOOK)]
        cells = ["" if value is None else shown(value) for value in values]
        ratios = _of_rounds(rows, measure)
        lines.append([name, *cells, as_ratio(median(ratios)) if ratios else ""])
    return lines


def with_spread(
    rows: Sequence[Row], measures: Mapping[str, Callable[[Row], float]]
) -> list[list[str]]:
    """Return lines as `beside` does, and behind each the least and the most of its rounds."""
    lines = beside(rows, measures)
    for line, measure in zip(lines, measures.values(), strict=True):
        ratios = _of_rounds(rows, measure)
        line.append(" to ".join(map(as_ratio, (min(ratios), max(ratios)))) if ratios else "")
    return lines


def _of_rounds(rows: Sequence[Row], measure: Callable[[Row], float]) -> list[float]:
    """Return what ours is to the textbook's in each round of which both are there."""
    ours, textbook = (
        [measure(row) for row in rows if row["by"] == whose] for whose in (OURS, TEXTBOOK)
    )
    return [one / other for one, other in zip(ours, textbook, strict=False) if other]


def middle(rows: Sequence[Row], whose: str, measure: Callable[[Row], float]) -> float | None:
    """Return the median of what is measured of one of the two; None if nothing was."""
    values = [measure(row) for row in rows if row["by"] == whose]
    return median(values) if values else None


_WAITING: Mapping[str, Callable[[Row], float]] = {
    "calls to Uplynk a look": lambda row: row["calls"] / row["looks"],
    "CPU of the worker, ms a look": lambda row: 1000 * row["cpu_seconds"] / row["looks"],
    "SQL statements a look": lambda row: row["statements"] / row["looks"],
    "transactions a look": lambda row: row["transactions"] / row["looks"],
    "memory of the worker at its most, MiB": lambda row: row["peak_mib"],
    "what Redis' keys take, KiB": lambda row: row["redis_keys_kib"],
    "what Redis holds more than with 20 under way, KiB": lambda row: row["redis_kib"],
    "seconds from a look at a job to the next": (
        lambda row: row["seconds"] * row["exports"] / row["looks"]
    ),
}

LIFECYCLE: Mapping[str, Callable[[Row], float]] = {
    RATE: lambda row: row["exports"] / row["wall_seconds"],
    CPU: lambda row: 1000 * row["cpu_seconds"] / row["exports"],
    CALLS: lambda row: row["calls"] / row["exports"],
    "SQL statements an export": lambda row: row["statements"] / row["exports"],
    "transactions an export": lambda row: row["transactions"] / row["exports"],
    "memory of the worker at its most, MiB": lambda row: row["peak_mib"],
    LAG: lambda row: row["lag_seconds"],
    "the longest of these": lambda row: row["worst_lag_seconds"],
}

_LOOKS = (RATE, CPU, CALLS, LAG)

_DEATH: Mapping[str, Callable[[Row], float]] = {
    "seconds to the first look at a job, at worst": lambda row: max(row["first_seconds"]),
    "seconds until each was looked at, at worst": lambda row: max(row["all_seconds"]),
}


def waiting(rows: Sequence[Row]) -> str:
    """Return the table of `bench.waiting`: a part for each number of exports."""
    lines = []
    for number in sorted({row["exports"] for row in rows}):
        here = [row for row in rows if row["exports"] == number]
        lines.append([f"**{number:,} exports**, {here[0]['interval']:g} s", "", "", ""])
        lines += beside(here, _WAITING)
    return _with_others(table(["", OURS, TEXTBOOK, "ours to textbook"], lines), rows)


def lifecycle(rows: Sequence[Row]) -> str:
    """Return the table of `bench.lifecycle`: a part for each pool, and how far Uplynk is."""
    first = rows[0]
    head = f"{first['exports']:,} exports of {first['size_bytes']:,} bytes"
    lines = []
    for named, here in by_place(with_few_looks(rows)).items():
        runs = sum(row["by"] == OURS for row in here)
        lines.append([f"**{named}**, runs of each: {runs}", "", "", "", ""])
        lines += with_spread(here, LIFECYCLE)
    text = table([head, OURS, TEXTBOOK, "ours to textbook", "in single rounds"], lines)
    return _with_others(f"{text}\n\n{_by_looks(rows)}", rows)


def with_few_looks(rows: Sequence[Row]) -> list[Row]:
    """Return those runs of a lifecycle in which each of the two looks at a job the least often."""
    longest = dict[str, float]()
    for row in rows:
        longest[row["by"]] = max(row["look_seconds"], longest.get(row["by"], 0))
    return [row for row in rows if row["look_seconds"] == longest[row["by"]]]


def _by_looks(rows: Sequence[Row]) -> str:
    """Return the table of what it costs to look more often, and what it brings, near Uplynk."""
    runs = defaultdict[tuple[str, str, float], list[Row]](list)
    for row in rows:
        if not row["far_ms"]:
            runs[row["pool"], row["by"], row["look_seconds"]].append(row)
    lines = [
        [pool, whose, f"{looks:g}", *(shown(median(map(LIFECYCLE[name], here))) for name in _LOOKS)]
        for (pool, whose, looks), here in runs.items()
    ]
    return table(["with", "by", "`POLL_MIN_SECONDS`, or looks each", *_LOOKS], lines)


def by_place(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the runs of each pool and of each distance to Uplynk, by the name of that."""
    places = defaultdict[str, list[Row]](list)
    for row in rows:
        far = f", calls {row['far_ms']} ms longer" if row["far_ms"] else ""
        places[f"{row['pool']}{far}"].append(row)
    return dict(places)


def death(rows: Sequence[Row]) -> str:
    """Return the table of `bench.death`."""
    timeouts = [row["visibility_seconds"] for row in rows if row["visibility_seconds"]]
    named = f"{TEXTBOOK}, with a visibility timeout of {timeouts[0]:g} s" if timeouts else TEXTBOOK
    head = [f"after kill -9, {rows[0]['exports']:,} exports under way", OURS, named, ""]
    lines = [["rounds", *_rounds(rows), ""], *beside(rows, _DEATH)]
    return _with_others(table(head, lines), rows)


def lag(rows: Sequence[Row]) -> str:
    """Return the table of `bench.lag`: a line for each duration, alone and in company."""
    head = [
        *(
            "a job takes",
            "jobs",
            "`POLL_MIN_SECONDS`",
            "late on average, as a part of that",
            "at worst, s",
            "promised, s",
        ),
        *("calls a job", "textbook's, each `POLL_MIN_SECONDS`"),
    ]
    lines = [
        [
            f"{row['seconds']:,g} s",
            f"{row['jobs']:,}",
            f"{row['poll_min_seconds']:g}",
            shown(row["mean_lag_seconds"] / row["seconds"]),
            shown(row["worst_lag_seconds"]),
            shown(row["bound_seconds"]),
            shown(row["calls_per_job"]),
            shown(row["textbook_calls_per_job"]),
        ]
        for row in sorted(rows, key=itemgetter("seconds", "jobs", "poll_min_seconds"))
    ]
    return table(head, lines)


def queries(rows: Sequence[Row]) -> str:
    """Return the table of `bench.queries`, and the plans."""
    first = rows[0]
    others = f"{first['waiting']:,} under way and {first['waiting']:,} asked for"
    head = [
        f"among {first['finished']:,} that have ended, {others}",
        f"ms, the median of {first['rounds']}",
        "ms, at most",
    ]
    lines = [[row["name"], shown(row["median_ms"]), shown(row["most_ms"])] for row in rows]
    plans = [f"-- {row['name']}\n" + "\n".join(row["plan"]) for row in rows]
    return f"{table(head, lines)}\n\n```\n" + "\n\n".join(plans) + "\n```"


def put(page: str, name: str, content: str) -> str:
    """Return the page with this content between the markers of this name.

    Raises:
        ValueError: it has no such markers.
    """
    begin, end = f"<!-- bench {name} -->\n", f"<!-- /bench {name} -->"
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"the page has no markers of the name {name}")
    return f"{before}{begin}{content}\n{end}{after}"


def _rounds(rows: Sequence[Row]) -> list[str]:
    by = {row["by"]: row for row in rows}
    return [
        f"{len(by[whose]['first_seconds'])}" if whose in by else "" for whose in (OURS, TEXTBOOK)
    ]


def _with_others(text: str, rows: Sequence[Row]) -> str:
    """Return the table and a line that says how far others on the machine disturbed it."""
    cores = max(row["others_cores"] for row in rows)
    said = (
        "Nobody else used the machine meanwhile."
        if cores < QUIET_CORES
        else f"Others had up to {cores:.1f} of the machine's cores meanwhile."
    )
    return f"{text}\n\n{said}"


TABLES: Mapping[str, Callable[[Sequence[Row]], str]] = {
    "waiting": waiting,
    "lifecycle": lifecycle,
    "death": death,
    "lag": lag,
    "queries": queries,
}
