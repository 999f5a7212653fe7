"""Poll: what Uplynk says of a job is set down, and the next look comes at its time."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from models import Export, State
from tests.factories import Clock, make_export, make_kit, reload
from tests.waiting import wait_until
from worker.cloudslicer import CloudSlicer, Job
from worker.steps import Step, Wake, poll, submit
from worker.steps.poll import FEW

Sessions = sessionmaker[Session]


def under_way(sessions: Sessions, tmp_path: Path, emulator: Emulator, **job: Any) -> Export:
    """Return an export whose job the emulator has; it is due."""
    export = make_export(sessions, state=State.REQUESTED)
    emulator.control.asset(export.asset, **job)
    submit(make_kit(sessions, tmp_path, emulator=emulator))
    with sessions.begin() as session:
        export = session.get_one(Export, export.id)
        export.due_at = export.job_created_at
    return export


def test_a_job_that_is_not_ready_is_looked_at_again_after_a_tenth_of_its_age(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=5000)
    assert export.job_created_at is not None
    clock = Clock(export.job_created_at)
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    for age, least, most in ((10, 5, 5), (600, 48, 60), (86_000, 300, 300)):
        clock.time = export.job_created_at + timedelta(seconds=age)
        report = poll(kit)
        after = reload(sessions, export)
        assert (after.state, after.job_state) == (State.EXPORTING, "assigned")
        assert after.due_at is not None
        assert least <= (after.due_at - clock.time).total_seconds() <= most
        assert Wake(Step.POLL, at=after.due_at) in report.wakes
    assert (reload(sessions, export).polls, reload(sessions, export).attempts) == (3, 0)


def test_a_job_that_is_done_fires_the_download(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=0)
    report = poll(make_kit(sessions, tmp_path, emulator=emulator))
    after = reload(sessions, export)
    assert after.state is State.DOWNLOADING
    assert after.url is not None
    assert after.url.endswith("_g.mp4")
    assert after.job_finished_at is not None
    assert Wake(Step.DOWNLOAD, export.id) in report.wakes
    assert Wake(Step.SUBMIT) in report.wakes


def test_a_job_that_failed_fails_the_export_with_its_last_error(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(
        sessions, tmp_path, emulator, run_seconds=0, fail_attempts=3, last_error="no video track"
    )
    emulator.control.advance(3600)
    poll(make_kit(sessions, tmp_path, emulator=emulator))
    after = reload(sessions, export)
    assert (after.state, after.error_code) == (State.FAILED, "export_error")
    assert after.job_error == "no video track"
    assert "no video track" in (after.error_message or "")


def test_a_job_that_was_cancelled_at_uplynk_ends_the_export(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=5000)
    kit = make_kit(sessions, tmp_path, emulator=emulator)
    kit.slicer.cancel_job(str(export.job_id))
    poll(kit)
    after = reload(sessions, export)
    assert (after.state, after.error_code) == (State.CANCELLED, "cancelled_at_uplynk")


def test_a_job_that_was_erased_is_lost(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=1)
    emulator.control.advance(73 * 3600)
    clock = Clock()
    clock.move(hours=73)
    poll(make_kit(sessions, tmp_path, emulator=emulator, now=clock))
    after = reload(sessions, export)
    assert (after.state, after.error_code) == (State.FAILED, "job_lost")
    assert "72 hours" in (after.error_message or "")


def test_a_young_job_that_is_not_found_is_looked_for_again(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=1)
    fault = emulator.control.fault("jobs/get", "error", msg="Not found")
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    poll(kit)
    after = reload(sessions, export)
    assert (after.state, after.attempts) == (State.EXPORTING, 1)
    emulator.control.remove_fault(fault)
    emulator.control.advance(60)
    clock.move(minutes=1)
    poll(kit)
    assert reload(sessions, export).state is State.DOWNLOADING


@pytest.mark.parametrize("state", ["waiting", "assigned", "rendering", "ASSIGNED", "?"])
def test_states_that_nobody_has_heard_of_are_looked_at_again(
    sessions: Sessions, tmp_path: Path, emulator: Emulator, state: str
) -> None:
    export = under_way(sessions, tmp_path, emulator)
    emulator.control.fault("jobs/get", "wrong_state", state=state)
    poll(make_kit(sessions, tmp_path, emulator=emulator))
    after = reload(sessions, export)
    assert (after.state, after.job_state, after.attempts) == (State.EXPORTING, state, 0)


TROUBLE: list[tuple[str, dict[str, object]]] = [
    ("reset_before", {}),
    ("status", {"status": 429, "retry_after": "40"}),
    ("status", {"status": 500}),
    ("status", {"status": 401, "body": "json"}),
    ("html", {}),
    ("empty", {}),
    ("error", {"code": 7}),
    ("error", {"code": 7, "msg": "Invalid signature"}),
    ("malformed", {"member": "state"}),
    ("malformed", {"member": "id", "value": "another"}),
    ("malformed", {"member": "job", "value": None}),
]


@pytest.mark.parametrize(("kind", "parameters"), TROUBLE)
def test_a_look_that_fails_is_taken_again_and_never_ends_the_export(
    sessions: Sessions,
    tmp_path: Path,
    emulator: Emulator,
    kind: str,
    parameters: dict[str, object],
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=0)
    emulator.control.fault("jobs/get", kind, times=1, **parameters)
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    poll(kit)
    after = reload(sessions, export)
    assert (after.state, after.attempts, after.claim) == (State.EXPORTING, 1, None)
    assert after.due_at is not None
    assert after.due_at > clock.time
    if "retry_after" in parameters:
        assert after.due_at >= clock.time + timedelta(seconds=40)
    clock.time = after.due_at
    poll(kit)
    after = reload(sessions, export)
    assert (after.state, after.attempts) == (State.DOWNLOADING, 0)


def test_a_job_that_is_done_without_a_url_is_looked_at_again(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=0)
    emulator.control.fault("jobs/get", "malformed", member="hd_exported_url", times=1)
    poll(make_kit(sessions, tmp_path, emulator=emulator))
    after = reload(sessions, export)
    assert (after.state, after.attempts) == (State.EXPORTING, 1)


def test_a_look_that_fails_late_does_not_end_a_job_that_may_be_done(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=0)
    emulator.control.fault("jobs/get", "status", status=503, times=1)
    clock = Clock(export.created_at + timedelta(hours=50))
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    poll(kit)
    after = reload(sessions, export)
    assert (after.state, after.attempts) == (State.EXPORTING, 1)
    clock.move(minutes=5)
    poll(kit)
    assert reload(sessions, export).state is State.DOWNLOADING


def test_a_job_that_nobody_finishes_ends_at_the_deadline(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=10**6)
    clock = Clock(export.created_at + timedelta(hours=24, seconds=10))
    poll(make_kit(sessions, tmp_path, emulator=emulator, now=clock))
    after = reload(sessions, export)
    assert (after.state, after.error_code) == (State.FAILED, "export_deadline")
    assert "EXPORT_DEADLINE_HOURS" in (after.error_message or "")


def test_workers_that_poll_at_once_look_at_each_job_once(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    exports = [under_way(sessions, tmp_path, emulator, run_seconds=5000) for _ in range(10)]
    kits = [make_kit(sessions, tmp_path, emulator=emulator) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(poll, kits))
    assert [reload(sessions, export).polls for export in exports] == [1] * 10


def test_what_there_is_no_time_for_is_given_back(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    exports = [under_way(sessions, tmp_path, emulator, run_seconds=5000) for _ in range(FEW)]
    clock = Clock()

    def hurried() -> Any:
        clock.move(seconds=8)  # each reading of the clock costs
        return clock.time

    poll(make_kit(sessions, tmp_path, emulator=emulator, now=hurried))
    after = [reload(sessions, export) for export in exports]
    assert sum(export.polls for export in after) == 1
    assert all(export.claim is None for export in after)


def test_a_claim_that_is_lost_meanwhile_leaves_the_outcome_to_the_other(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=0)
    emulator.control.fault("jobs/get", "delay", seconds=1.0)
    other = uuid4()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(poll, make_kit(sessions, tmp_path, emulator=emulator))
        wait_until(lambda: reload(sessions, export).claim)
        with sessions.begin() as session:
            session.get_one(Export, export.id).claim = other
        running.result()
    after = reload(sessions, export)
    assert (after.state, after.claim, after.polls) == (State.EXPORTING, other, 0)


def test_a_row_that_nobody_foresaw_holds_up_no_other_and_is_counted(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    good = [under_way(sessions, tmp_path, emulator, run_seconds=5000) for _ in range(3)]
    bad = under_way(sessions, tmp_path, emulator, run_seconds=5000)
    kit = make_kit(sessions, tmp_path, emulator=emulator)
    poll(replace(kit, slicer=Poisoned(kit.slicer, str(bad.job_id))))
    assert [reload(sessions, export).polls for export in good] == [1, 1, 1]
    after = reload(sessions, bad)
    assert (after.state, after.attempts, after.claim) == (State.EXPORTING, 1, None)


class Poisoned(CloudSlicer):
    """A client with a bug: one job makes it raise what no step knows."""

    def __init__(self, real: CloudSlicer, job_id: str) -> None:
        self.__dict__ |= vars(real)
        self._poison = job_id

    def get_job(self, job_id: str) -> Job:
        if job_id == self._poison:
            raise LookupError("a bug")
        return super().get_job(job_id)

    def list_jobs(self, *, limit: int, skip: int = 0) -> list[Job]:
        """Show none of them: they are to be asked for one by one."""
        del limit, skip
        return []


def test_a_poll_that_can_take_nothing_does_not_run_against_it(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    other = make_export(sessions, state=State.EXPORTING, job_id="j1", account="f" * 32)
    kit = make_kit(sessions, tmp_path, emulator=emulator)
    assert poll(kit).wakes == ()
    assert reload(sessions, other).polls == 0


def test_a_job_that_was_made_late_has_all_its_time_all_the_same(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = under_way(sessions, tmp_path, emulator, run_seconds=10**6)
    with sessions.begin() as session:
        held = session.get_one(Export, export.id)
        held.begun_at = export.created_at - timedelta(days=20)
    clock = Clock(export.created_at + timedelta(minutes=5))
    poll(make_kit(sessions, tmp_path, emulator=emulator, now=clock))
    assert reload(sessions, export).state is State.EXPORTING
