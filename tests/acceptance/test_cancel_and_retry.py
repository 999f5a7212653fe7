"""Cancel and retry, by message and by command: Uplynk hears of it, and nothing is paid twice."""

from typing import Any

import pytest
from celery import Celery

from models import Request, State
from tests.acceptance.stage import Stage
from tests.factories import an_asset
from tests.waiting import wait_until


def cancelled(stage: Stage, request_id: str) -> Request:
    """Return the request once it is cancelled and its export, if it had one, has ended."""
    request = stage.ended(request_id)
    assert request.state is State.CANCELLED

    def ended() -> Request | None:
        found = stage.request(request_id)
        export = found.export if found else None
        return found if export is None or export.state is State.CANCELLED else None

    return wait_until(ended, what=f"the end of the export of {request_id}")


def test_cancelling_stops_the_job_at_uplynk(stage: Stage, pool: str) -> None:
    asset = an_asset()
    stage.emulator.control.asset(asset, run_seconds=600)
    stage.start(pool)
    request_id = stage.send(asset=asset)
    stage.reaches(request_id, State.EXPORTING)
    stage.order("exports.cancel", request_id=request_id)
    export = cancelled(stage, request_id).export
    assert export is not None
    assert (export.error_code, export.claim, export.due_at) == ("cancelled", None, None)
    (job,) = stage.emulator.control.jobs(asset)
    assert job["state"] == "cancelled"


def test_cancelling_stops_a_running_download_and_leaves_nothing(stage: Stage, pool: str) -> None:
    asset = an_asset()
    stage.emulator.control.fault("media", "throttle", bytes_per_second=1000)
    stage.start(pool)
    request_id = stage.send(asset=asset)
    stage.reaches(request_id, State.DOWNLOADING)
    wait_until(lambda: list((stage.folder / "scratch").glob("*")), what="a growing file")
    stage.order("exports.cancel", request_id=request_id)
    cancelled(stage, request_id)
    wait_until(lambda: not list((stage.folder / "scratch").glob("*")), what="an empty scratch")
    assert not list((stage.folder / "exports").rglob("*.mp4"))
    wait_until(lambda: stage.messages() == 0, what="an empty broker")


def test_one_of_two_requests_is_detached_and_the_other_is_served(stage: Stage) -> None:
    asset = an_asset()
    stage.emulator.control.asset(asset, run_seconds=3)
    stage.start("threads")
    first, second = stage.send(asset=asset), stage.send(asset=asset)
    stage.reaches(second, State.EXPORTING)
    stage.order("exports.cancel", request_id=first)
    assert stage.ended(first).state is State.CANCELLED
    stage.stored(second)
    assert len(stage.emulator.control.jobs(asset)) == 1


def test_a_cancel_that_overtakes_its_request_is_obeyed(stage: Stage) -> None:
    asset = an_asset()
    stage.start("threads")
    stage.order("exports.cancel", request_id="overtaken")
    stage.ended("overtaken")
    stage.send("overtaken", asset=asset)
    wait_until(lambda: stage.messages() == 0, what="an empty broker")
    stage.stored(stage.send(asset=an_asset()))
    assert stage.ended("overtaken").state is State.CANCELLED
    assert stage.emulator.control.jobs(asset) == []


def test_a_failed_download_is_retried_without_paying_for_a_new_export(stage: Stage) -> None:
    asset = an_asset()
    stage.settings["MAX_FILE_BYTES"] = "1000"
    worker = stage.start("threads")
    request_id = stage.send(asset=asset)
    assert stage.ended(request_id).error is not None
    stage.kill(worker)
    del stage.settings["MAX_FILE_BYTES"]
    stage.start("threads")
    shown = stage.cli("retry", request_id)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split() == [request_id, "downloading"]
    stage.stored(request_id)
    assert len(stage.emulator.control.jobs(asset)) == 1


def test_the_commands_say_in_their_status_what_came_of_it(stage: Stage) -> None:
    asset, failing = an_asset(), an_asset()
    stage.emulator.control.asset(failing, fail_attempts=9)
    stage.start("threads")
    stored, failed = stage.send(asset=asset), stage.send(asset=failing)
    stage.stored(stored)
    assert stage.ended(failed).state is State.FAILED
    late = stage.cli("cancel", stored)
    assert (late.returncode, late.stderr.split()[:2]) == (1, [stored, "stored"])
    assert stage.cli("cancel", "nobody").returncode == 1
    assert stage.cli("retry", "nobody").returncode == 1
    assert stage.cli("retry").returncode == 2
    stage.emulator.control.asset(failing, fail_attempts=0)
    bulk = stage.cli("retry", "--code", "export_error")
    assert (bulk.returncode, bulk.stdout) == (0, "1 taken up again\n")
    export = stage.stored(failed)
    first, second = stage.emulator.control.jobs(failing)
    assert first["state"] == "error"
    assert export.job_id == second["id"]


WRONG: list[dict[str, Any]] = [
    {},
    {"request_id": None},
    {"request_id": 7},
    {"request_id": "x" * 200},
    {"request_id": "a", "code": "b", "extra": 1},
    {"code": "b", "before": "yesterday"},
]


@pytest.mark.parametrize("task", ["exports.cancel", "exports.retry"])
def test_messages_that_make_no_sense_go_round_no_more(stage: Stage, task: str) -> None:
    stage.start("threads")
    for arguments in WRONG:
        stage.order(task, **arguments)
    with Celery(broker=stage.broker_url, set_as_current=False) as app:
        app.send_task(task, ["positional"], queue="exports")
    stage.stored(stage.send(asset=an_asset()))
    wait_until(lambda: stage.messages() == 0, what="an empty broker")
