"""Pause: a worker that stood still past its claim wakes up, and changes nothing any more."""

import os
import signal
from typing import Any

import pytest
from sqlalchemy import func, select

from models import History, State
from tests.acceptance.stage import Stage
from tests.factories import an_asset
from tests.waiting import wait_until

# On SQLite a process that stands still in the middle of a transaction locks the file for all.
pytestmark = pytest.mark.services

# Where to pause, each held open by a fault: one whose answer never comes, and one whose answer
# waits for the sleeper to wake up.
HELD: list[tuple[State, str, str, dict[str, Any]]] = [
    (State.SUBMITTING, "jobs/create_export", "hang", {"when": "after"}),
    (State.SUBMITTING, "jobs/create_export", "delay", {"when": "after", "seconds": 2}),
    (State.EXPORTING, "jobs/get", "hang", {}),
    (State.EXPORTING, "jobs/get", "delay", {"when": "after", "seconds": 2}),
    (State.DOWNLOADING, "media", "throttle", {"bytes_per_second": 1000}),
    (State.DOWNLOADING, "captions", "delay", {"seconds": 2}),
]


def rows_of_history(stage: Stage) -> int:
    with stage.sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(History)) or 0


@pytest.mark.parametrize(("state", "call", "kind", "parameters"), HELD)
def test_a_worker_that_was_paused_past_its_claim_changes_nothing(
    stage: Stage, pool: str, state: State, call: str, kind: str, parameters: dict[str, Any]
) -> None:
    asset = an_asset()
    fault = stage.emulator.control.fault(call, kind, times=1, asset=asset, **parameters)
    sleeper = stage.start(pool)
    request_id = stage.send(asset=asset)
    stage.reaches(request_id, state)
    wait_until(lambda: stage.emulator.control.faults()[0]["fired"], what="the fault")
    os.killpg(sleeper.process.pid, signal.SIGSTOP)
    claimed = stage.reaches(request_id, state).claim
    assert claimed is not None
    stage.start(pool)
    export = stage.stored(request_id)
    rows = rows_of_history(stage)
    stage.emulator.control.remove_fault(fault)
    log = stage.folder / "worker.log"
    os.killpg(sleeper.process.pid, signal.SIGCONT)
    wait_until(lambda: "outcome dropped" in log.read_text(), what="a word of the sleeper")
    stage.stored(stage.send(asset=an_asset()))
    sleeper.process.terminate()  # it finishes, or leaves, what it was at
    sleeper.process.wait(20)
    (after,) = [each for each in stage.exports() if each.id == export.id]
    assert (after.state, after.sha256, after.job_id) == (State.STORED, export.sha256, export.job_id)
    assert rows_of_history(stage) == rows + 5  # those of the other asset
    (job,) = stage.emulator.control.jobs(asset)
    assert after.sha256 == stage.emulator.control.media(job["id"])["sha256"]
    assert list((stage.folder / "scratch").glob("*")) == []
