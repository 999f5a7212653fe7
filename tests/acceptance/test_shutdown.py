"""Shutdown: a worker ends within seconds whatever it is at, and another goes on from there."""

import os
import signal
from typing import Any

import pytest

from models import State
from tests.acceptance.stage import Stage
from tests.factories import an_asset
from tests.waiting import wait_until
from worker.embedded import WorkerProcess

# What is promised, and some for a machine that is busy.
MOST_SECONDS = 10 + 5


def ends(worker: WorkerProcess) -> int:
    """Return the worker's exit status; it must not take longer than is promised."""
    return worker.process.wait(MOST_SECONDS)


def downloading(stage: Stage, asset: str, pool: str) -> tuple[WorkerProcess, str]:
    """Return a worker in the middle of a download, and the request."""
    worker = stage.start(pool)
    request_id = stage.send(asset=asset)
    stage.reaches(request_id, State.DOWNLOADING)
    wait_until(lambda: stage.emulator.control.faults()[0]["fired"], what="the download")
    return worker, request_id


HELD: list[tuple[str, dict[str, Any]]] = [
    ("throttle", {"bytes_per_second": 1000}),
    ("hang", {"when": "after"}),
]


@pytest.mark.parametrize(("kind", "parameters"), HELD, ids=["slow", "silent"])
def test_a_download_is_left_at_once_and_gone_on_with_by_another(
    stage: Stage, pool: str, kind: str, parameters: dict[str, Any]
) -> None:
    asset = an_asset()
    fault = stage.emulator.control.fault("media", kind, **parameters)
    worker, request_id = downloading(stage, asset, pool)
    if kind == "throttle":  # it has begun to come
        parts = (stage.folder / "scratch").glob
        wait_until(lambda: any(part.stat().st_size for part in parts("*.part")), what="bytes")
    worker.process.terminate()
    assert ends(worker) == 0
    export = stage.reaches(request_id, State.DOWNLOADING)
    if kind == "throttle":  # a request that has no answer yet is cut off instead
        assert (export.claim, export.attempts) == (None, 0)
        assert len(list((stage.folder / "scratch").glob("*.part"))) == 1
    stage.emulator.control.remove_fault(fault)
    stage.start(pool)
    stage.stored(request_id)
    assert len(stage.emulator.control.jobs(asset)) == 1
    assert list((stage.folder / "scratch").glob("*")) == []


@pytest.mark.parametrize("call", ["jobs/create_export", "jobs/get"])
def test_a_call_without_an_answer_holds_up_no_shutdown(stage: Stage, pool: str, call: str) -> None:
    asset = an_asset()
    stage.settings["UPLYNK_TIMEOUT_SECONDS"] = "60"
    stage.emulator.control.fault(call, "hang", when="after", times=1)
    worker = stage.start(pool)
    request_id = stage.send(asset=asset)
    wait_until(lambda: stage.emulator.control.faults()[0]["fired"], what="the call")
    worker.process.terminate()
    ends(worker)
    with stage.sessions.begin() as session:  # its claim is as long as the call could have lasted
        for export in stage.exports():
            held = session.merge(export)
            held.due_at = held.claimed_until = held.created_at
    stage.settings["UPLYNK_TIMEOUT_SECONDS"] = "3"
    stage.start(pool)
    stage.stored(request_id)
    assert len(stage.emulator.control.jobs(asset)) == 1


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGQUIT]])
def test_less_gentle_signals_lose_nothing(
    stage: Stage, pool: str, signals: list[signal.Signals]
) -> None:
    asset = an_asset()
    stage.emulator.control.fault("media", "throttle", bytes_per_second=1000)
    worker, request_id = downloading(stage, asset, pool)
    for number in signals:
        os.kill(worker.process.pid, number)
    ends(worker)
    stage.emulator.control.clear_faults()
    stage.start(pool)
    stage.stored(request_id)
    assert len(stage.emulator.control.jobs(asset)) == 1
