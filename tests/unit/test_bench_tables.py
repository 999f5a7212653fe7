"""The tables of the benchmarks have the right figures in the right places."""

import re
from pathlib import Path

import pytest

from bench import tables

ROOT = Path(__file__).parents[2]


def waiting(by: str, **members: object) -> dict[str, object]:
    return {
        "by": by,
        "exports": 1000,
        "interval": 20.0,
        "cycles": 3,
        "seconds": 60.0,
        "looks": 2000,
        "calls": 20,
        "cpu_seconds": 0.5,
        "statements": 60,
        "transactions": 40,
        "peak_mib": 140.0,
        "redis_kib": 70.0,
        "redis_keys_kib": 2.0,
        "others_cores": 0.0,
        **members,
    }


def query(name: str, **members: object) -> dict[str, object]:
    return {
        "name": name,
        "rounds": 50,
        "median_ms": 1.25,
        "most_ms": 9.0,
        "finished": 1_000_000,
        "waiting": 100_000,
        "plan": ["Limit", "  Index Scan"],
        **members,
    }


def cells(table: str, name: str) -> list[str]:
    """Return the cells of the first line that begins with `name`, without it."""
    line = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *[(0.0004, "0.0004"), (0.0123, "0.012"), (0.9997, "1.00"), (1.5, "1.50"), (22.22, "22.2")],
        *[(99.97, "100"), (15_937, "15,937")],
    ],
)
def test_a_number_has_about_three_digits(number: float, text: str) -> None:
    assert tables.shown(number) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(1 / 50, "1/50.0"), (1 / 200, "1/200"), (3 / 4, "0.75"), (4, "4.00")]
)
def test_a_small_ratio_is_a_fraction(ratio: float, text: str) -> None:
    assert tables.as_ratio(ratio) == text


def test_waiting_is_told_by_the_look_and_beside_the_textbook() -> None:
    theirs = waiting("textbook", calls=2000, cpu_seconds=14.0, peak_mib=280.0)
    table = tables.waiting([theirs, waiting("ours")])
    assert cells(table, "calls to Uplynk a look") == ["0.01", "1.00", "1/100"]
    assert cells(table, "CPU of the worker, ms a look") == ["0.25", "7.00", "1/28.0"]
    assert cells(table, "memory of the worker at its most, MiB") == ["140", "280", "1/2.00"]
    assert cells(table, "seconds from a look at a job to the next") == ["30.0", "30.0", "1.00"]


def test_each_number_of_exports_has_its_part_and_ours_may_be_alone() -> None:
    table = tables.waiting([waiting("ours", exports=100_000), waiting("ours", exports=1000)])
    assert table.index("**1,000 exports**") < table.index("**100,000 exports**")
    assert cells(table, "calls to Uplynk a look") == ["0.01", "", ""]


def test_what_others_had_of_the_machine_is_said() -> None:
    quiet = tables.waiting([waiting("ours")])
    disturbed = tables.waiting([waiting("ours"), waiting("textbook", others_cores=1.25)])
    assert quiet.endswith("Nobody else used the machine meanwhile.")
    assert disturbed.endswith("Others had up to 1.2 of the machine's cores meanwhile.")


def lifecycle(
    by: str, pool: str, cpu_seconds: float, *, far_ms: int = 0, look_seconds: float = 5.0
) -> dict[str, object]:
    return {
        "by": by,
        "pool": pool,
        "far_ms": far_ms,
        "look_seconds": look_seconds,
        "exports": 500,
        "size_bytes": 1_000_000,
        "wall_seconds": 20.0,
        "lag_seconds": 2.5,
        "worst_lag_seconds": 5.0,
        "calls": 550,
        "cpu_seconds": cpu_seconds,
        "statements": 5500,
        "transactions": 2500,
        "peak_mib": 170.0,
        "others_cores": 0.0,
    }


def test_of_the_rounds_of_a_lifecycle_the_middle_one_counts_by_its_pool() -> None:
    runs = [lifecycle("ours", "threads", seconds) for seconds in (90.0, 5.0, 6.0)]
    runs += [lifecycle("textbook", "threads", seconds) for seconds in (4.0, 5.0, 80.0)]
    alone = [lifecycle("ours", "prefork", 7.0)]
    prefork, _, threads = tables.lifecycle(alone + runs).partition("| **threads**, runs of each: 3")
    assert "500 exports of 1,000,000 bytes" in prefork
    assert cells(prefork, "CPU of the worker, ms an export") == ["14.0", "", "", ""]
    told = ["12.0", "10.0", "1.00", "1/13.3 to 22.50"]  # of 22.5, 1.0 and 0.075
    assert cells(threads, "CPU of the worker, ms an export") == told
    assert cells(threads, "exports a second") == ["25.0", "25.0", "1.00", "1.00 to 1.00"]


def test_runs_far_from_uplynk_are_a_part_of_their_own() -> None:
    runs = [lifecycle("ours", "threads", 5.0), lifecycle("ours", "threads", 6.0, far_ms=50)]
    named = "| **threads, calls 50 ms longer**, runs of each: 1"
    near, found, far = tables.lifecycle(runs).partition(named)
    assert found
    assert cells(near, "CPU of the worker, ms an export") == ["10.0", "", "", ""]
    assert cells(far, "CPU of the worker, ms an export") == ["12.0", "", "", ""]


def test_runs_with_more_looks_are_a_table_of_their_own() -> None:
    runs = [lifecycle("ours", "threads", 5.0), lifecycle("textbook", "threads", 6.0)]
    runs += [lifecycle("ours", "threads", cpu, look_seconds=1.0) for cpu in (7.0, 8.0, 50.0)]
    beside, _, by_looks = tables.lifecycle(runs).partition("| with | by |")
    told = ["10.0", "12.0", "0.83", "0.83 to 0.83"]
    assert cells(beside, "CPU of the worker, ms an export") == told
    assert cells(by_looks, "threads | ours | 1") == ["ours", "1", "25.0", "16.0", "1.10", "2.50"]
    assert cells(by_looks, "threads | textbook | 5")[3] == "12.0"


def test_a_death_is_told_by_its_worst_round() -> None:
    gap = {"exports": 1000, "others_cores": 0.0, "all_seconds": [6.0, 9.0]}
    ours = {**gap, "by": "ours", "visibility_seconds": None, "first_seconds": [3.0, 5.0]}
    theirs = {**gap, "by": "textbook", "visibility_seconds": 60, "first_seconds": [50.0]}
    table = tables.death([ours, theirs])
    assert "textbook, with a visibility timeout of 60 s" in table
    assert cells(table, "rounds") == ["2", "1", ""]
    assert cells(table, "seconds to the first look at a job, at worst") == [
        "5.00",
        "50.0",
        "1/10.0",
    ]


def test_lags_are_in_the_order_of_durations() -> None:
    lag = {
        "jobs": 1,
        "poll_min_seconds": 5.0,
        "mean_lag_seconds": 1.0,
        "worst_lag_seconds": 2.0,
        "bound_seconds": 16.0,
        "calls_per_job": 12.0,
        "textbook_calls_per_job": 12,
    }
    minute = {**lag, "seconds": 60.0}
    table = tables.lag([{**minute, "poll_min_seconds": 90.0}, minute, {**lag, "seconds": 10.0}])
    assert table.index("| 10 s |") < table.index("| 60 s | 1 | 5 |") < table.index("| 1 | 90 |")
    assert cells(table, "10 s") == ["1", "5", "0.1", "2.00", "16.0", "12.0", "12.0"]


def test_a_part_of_the_page_is_put_between_its_markers() -> None:
    page = "a\n<!-- bench lag -->\nold\n<!-- /bench lag -->\nb\n"
    once = tables.put(page, "lag", "new")
    assert once == "a\n<!-- bench lag -->\nnew\n<!-- /bench lag -->\nb\n"
    assert tables.put(once, "lag", "new") == once
    with pytest.raises(ValueError, match="no markers of the name death"):
        tables.put(page, "death", "new")


def test_the_page_has_markers_for_every_table() -> None:
    page = (ROOT / "docs/performance.md").read_text()
    assert set(re.findall(r"<!-- bench (\w+) -->", page)) == set(tables.TABLES)


def test_a_query_has_its_times_and_its_plan() -> None:
    told = tables.queries([query("claim"), query("due", median_ms=0.5)])
    assert cells(told, "claim") == ["1.25", "9.00"]
    assert cells(told, "due") == ["0.5", "9.00"]
    assert "-- claim\nLimit\n  Index Scan" in told
    assert "among 1,000,000 that have ended, 100,000 under way" in told
