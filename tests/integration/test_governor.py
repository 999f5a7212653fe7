"""Governor: the window follows what can be brought, before Uplynk's record of it is gone."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from structlog.testing import capture_logs

from models import Export, State
from tests.factories import Clock, build_export, make_settings
from tests.uplynk import Plans
from worker.settings import Settings
from worker.steps import Kit, submit, sweep
from worker.steps.governor import DANGER_AFTER, LEAST, LOOK_EVERY, Governor, governed

HOUR, DAY = timedelta(hours=1), timedelta(hours=24)


@pytest.mark.parametrize(
    ("most", "waiting", "brought", "lately", "window"),
    [
        (2000, 0, 0, timedelta(), LEAST),  # nothing is known yet
        (15, 0, 0, timedelta(), 15),
        (2000, 0, 1000, HOUR, 2000),  # 24,000 could be brought
        (2000, 23_000, 1000, HOUR, 1000),
        (2000, 30_000, 1000, HOUR, 0),
        (2000, LEAST - 1, 0, HOUR, 1),  # nothing was brought for an hour
        (2000, LEAST, 0, HOUR, 0),
        (2000, 0, 20, timedelta(minutes=3), 2000),  # 9,600, if it goes on so
        (2000, 0, 5, timedelta(seconds=1), 2000),  # no more is believed than 2.5 a minute
        (9000, 0, 5, timedelta(seconds=1), 3600),
    ],
)
def test_what_is_under_way_and_waits_can_be_brought_in_a_day(
    most: int, waiting: int, brought: int, lately: timedelta, window: int
) -> None:
    assert governed(most, waiting=waiting, brought=brought, lately=lately, backlog=DAY) == window


def governing(kit: Kit, clock: Clock, tmp_path: Path, **settings: Any) -> tuple[Kit, Settings]:
    changed = make_settings(tmp_path, **settings)
    governor = Governor(changed, kit.slicer.owner, now=clock)
    return replace(kit, settings=changed, governor=governor), changed


def add(kit: Kit, state: State, number: int, **members: Any) -> list[Export]:
    exports = [build_export(state=state, **members) for _ in range(number)]
    with kit.sessions.begin() as session:
        session.add_all(exports)
    return exports


def window(kit: Kit) -> int:
    with kit.sessions.begin() as session:
        return kit.governor.window(session)


def test_the_window_follows_the_files_that_wait_and_the_rate(
    kit: Kit, clock: Clock, tmp_path: Path
) -> None:
    kit, _ = governing(kit, clock, tmp_path, max_exporting=500, download_backlog_hours=2)
    assert window(kit) == LEAST
    for minute in range(60):
        stored = clock() - timedelta(minutes=minute)
        add(kit, State.STORED, 3, state_since=stored, due_at=None)
    add(kit, State.STORED, 50, state_since=clock() - timedelta(hours=2), due_at=None)
    assert window(kit) == LEAST  # it was found a moment ago
    clock.move(seconds=LOOK_EVERY.total_seconds())
    assert 355 <= window(kit) <= 375
    add(kit, State.DOWNLOADING, 300, done_at=clock())
    clock.move(seconds=LOOK_EVERY.total_seconds())
    assert 55 <= window(kit) <= 75


def test_nothing_is_asked_for_while_too_much_waits(
    kit: Kit, clock: Clock, plans: Plans, tmp_path: Path
) -> None:
    kit, _ = governing(kit, clock, tmp_path, max_exporting=500)
    add(kit, State.DOWNLOADING, LEAST, done_at=clock(), due_at=clock())
    add(kit, State.REQUESTED, 5, due_at=clock())
    with capture_logs() as logs:
        assert submit(kit).facts == {"took": 0, "exports": []}
        clock.move(seconds=LOOK_EVERY.total_seconds())
        submit(kit)
    assert plans.calls["create_export"] == 0
    [said] = [line for line in logs if "files wait" in line["event"]]  # once in ten minutes
    assert (said["window"], said["waiting"]) == (0, LEAST)


def test_nothing_is_asked_for_while_there_is_no_room_for_files(
    kit: Kit, clock: Clock, plans: Plans, tmp_path: Path
) -> None:
    full, _ = governing(kit, clock, tmp_path, scratch_reserve_bytes=10**18)
    add(kit, State.REQUESTED, 5, due_at=clock())
    with capture_logs() as logs:
        submit(full)
    assert plans.calls["create_export"] == 0
    assert any("SCRATCH_DIR is full" in line["event"] for line in logs)
    roomy, _ = governing(kit, clock, tmp_path, scratch_reserve_bytes=0)
    submit(roomy)
    assert plans.calls["create_export"] == 5


def test_the_sweep_warns_of_a_file_whose_job_is_erased_soon(kit: Kit, clock: Clock) -> None:
    add(kit, State.DOWNLOADING, 1, done_at=clock(), job_id="j")
    with capture_logs() as logs:
        clock.move(hours=47)
        sweep(kit)
        assert [line["event"] for line in logs] == []
        clock.move(hours=1)
        sweep(kit)
        sweep(kit)
    assert [line["event"] for line in logs] == ["file in danger"]


def test_what_is_in_danger_is_looked_for_now_and_then(kit: Kit, clock: Clock) -> None:
    add(kit, State.DOWNLOADING, 1, done_at=clock(), job_id="j")

    def danger() -> datetime | None:
        with kit.sessions.begin() as session:
            return kit.governor.danger(session)

    clock.move(hours=48, seconds=-1)
    assert danger() is None
    clock.move(seconds=1)
    assert danger() == clock() - DANGER_AFTER
    with kit.sessions.begin() as session:
        session.execute(delete(Export))
    assert danger() == clock() - DANGER_AFTER  # it was found a moment ago
    clock.move(seconds=LOOK_EVERY.total_seconds())
    assert danger() is None
