"""Plots: what was measured, as pictures; needs the extra `bench` (matplotlib)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.tables import CPU, LIFECYCLE, OURS, RATE, TEXTBOOK, Row, by_place, middle, with_few_looks

mpl.use("agg")

COLOURS = {OURS: "#1b6ca8", TEXTBOOK: "#c9702e"}
DPI = 110
BAR = 0.4  # how wide one of the two is

_MEASURES: Mapping[str, Callable[[Row], float]] = {
    "calls to Uplynk": lambda row: row["calls"] / row["looks"],
    "CPU": lambda row: row["cpu_seconds"] / row["looks"],
    "SQL statements": lambda row: row["statements"] / row["looks"],
    "Redis' keys": lambda row: row["redis_keys_kib"],
    "memory": lambda row: row["peak_mib"],
}


def waiting(rows: Sequence[Row], path: Path) -> None:
    """Draw what a look costs to the textbook's, and memory by the number of exports."""
    by = {(row["by"], row["exports"]): row for row in rows}
    numbers = sorted({row["exports"] for row in rows if (TEXTBOOK, row["exports"]) in by})
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    bars, memory = figure.subplots(1, 2)
    for place, number in enumerate(numbers):
        ratios = [
            measure(by[OURS, number]) / measure(by[TEXTBOOK, number])
            for measure in _MEASURES.values()
        ]
        heights = [n + 0.8 * place / len(numbers) for n in range(len(ratios))]
        bars.barh(heights, ratios, height=0.8 / len(numbers), label=f"{number:,} exports")
    bars.axvline(1, color=COLOURS[TEXTBOOK])
    bars.set_xscale("log")
    bars.set_yticks([n + 0.2 for n in range(len(_MEASURES))], list(_MEASURES))
    bars.set_xlabel("ours, where the textbook's is 1")
    bars.legend()
    for whose, colour in COLOURS.items():
        mine = sorted((row["exports"], row["peak_mib"]) for row in rows if row["by"] == whose)
        memory.plot(*zip(*mine, strict=True), "o-", color=colour, label=whose)
    memory.set_xscale("log")
    memory.set_ylim(bottom=0)
    memory.set_xlabel("exports under way")
    memory.set_ylabel("memory of the worker at its most, MiB")
    memory.legend()
    figure.savefig(path, dpi=DPI)


def lifecycle(rows: Sequence[Row], path: Path) -> None:
    """Draw exports a second, and CPU an export, by the pool and how far Uplynk is."""
    figure = Figure(figsize=(10, 3), layout="constrained")
    places = by_place(with_few_looks(rows))
    for axes, name in zip(figure.subplots(1, 2), (RATE, CPU), strict=True):
        for place, here in enumerate(places.values()):
            for shift, (whose, colour) in enumerate(COLOURS.items()):
                value = middle(here, whose, LIFECYCLE[name])
                label = whose if place == 0 else None
                axes.bar(place + shift * BAR, value or 0, BAR, color=colour, label=label)
        names = [name.replace(", calls ", ",\n") for name in places]
        axes.set_xticks([place + BAR / 2 for place in range(len(places))], names)
        axes.set_title(name)
        axes.legend()
    figure.savefig(path, dpi=DPI)


def lag(rows: Sequence[Row], path: Path) -> None:
    """Draw how late it is seen, and how many calls a job takes, by its duration.

    Only the lines with the shortest POLL_MIN_SECONDS are drawn.
    """
    least = min(row["poll_min_seconds"] for row in rows)
    rows = [row for row in rows if row["poll_min_seconds"] == least]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    late, calls = figure.subplots(1, 2)
    for jobs in sorted({row["jobs"] for row in rows}):
        here = sorted((row for row in rows if row["jobs"] == jobs), key=lambda row: row["seconds"])
        named = "alone" if jobs == 1 else f"among {jobs:,}"
        _line(late, here, lambda row: row["worst_lag_seconds"] / row["seconds"], label=named)
        _line(calls, here, lambda row: row["calls_per_job"], label=named)
    reckoned = sorted(rows, key=lambda row: row["seconds"])
    _line(late, reckoned, lambda row: row["bound_seconds"] / row["seconds"], label="promised")
    _line(
        calls,
        reckoned,
        lambda row: row["textbook_calls_per_job"],
        label=f"textbook, each {least:g} s",
    )
    late.set_title("the longest lag, as a part of the job's duration")
    calls.set_title("calls a job")
    for axes in (late, calls):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("the job's duration, s")
        axes.legend()
    figure.savefig(path, dpi=DPI)


def _line(axes: Any, rows: Sequence[Row], measure: Callable[[Row], float], *, label: str) -> None:  # noqa: ANN401  (matplotlib's, which may not be there)
    how = "o-" if label.startswith(("alone", "among")) else "--"
    axes.plot([row["seconds"] for row in rows], [measure(row) for row in rows], how, label=label)


PLOTS: Mapping[str, Callable[[Sequence[Row], Path], None]] = {
    "waiting": waiting,
    "lifecycle": lifecycle,
    "lag": lag,
}
