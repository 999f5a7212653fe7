"""Death: a worker is killed at any stage, and another finishes what it began, paid for once."""

import time
from typing import Any

import pytest

from models import State
from tests.acceptance.stage import Stage
from tests.factories import ASSET
from tests.waiting import wait_until

# The stages at which to kill, each held open by a fault of the emulator's.
HELD: dict[State, tuple[str, str, dict[str, Any]]] = {
    State.SUBMITTING: ("jobs/create_export", "hang", {"when": "after"}),
    State.EXPORTING: ("jobs/get", "hang", {}),
    State.DOWNLOADING: ("media", "throttle", {"bytes_per_second": 1000}),
}


@pytest.mark.parametrize("state", list(HELD))
def test_another_worker_finishes_what_a_killed_one_began(
    stage: Stage, pool: str, state: State
) -> None:
    call, kind, parameters = HELD[state]
    fault = stage.emulator.control.fault(call, kind, **parameters)
    first = stage.start(pool)
    request_id = stage.send(asset=ASSET)
    stage.reaches(request_id, state)
    wait_until(lambda: stage.emulator.control.faults()[0]["fired"], what="the fault")
    stage.kill(first)
    claimed = stage.reaches(request_id, state)
    assert claimed.claim is not None
    stage.emulator.control.remove_fault(fault)
    began = time.monotonic()
    stage.start(pool)
    export = stage.stored(request_id)
    claim_left = (claimed.claimed_until or export.created_at) - claimed.state_since
    assert time.monotonic() - began < claim_left.total_seconds() + 60
    (job,) = stage.emulator.control.jobs(ASSET)
    assert job["id"] == export.job_id
    assert export.sha256 == stage.emulator.control.media(job["id"])["sha256"]
    assert list((stage.folder / "scratch").glob("*")) == []


@pytest.mark.services  # the embedded broker may hand the one sweep to the dead worker's connection
def test_a_worker_that_starts_wakes_what_is_overdue(stage: Stage) -> None:
    first = stage.start("threads")
    request_id = stage.send(asset=ASSET)
    stage.reaches(request_id, State.EXPORTING)
    stage.kill(first)
    stage.settings["SWEEP_SECONDS"] = "600"  # so that it can only be the start that woke it
    stage.start("threads")
    stage.stored(request_id)
