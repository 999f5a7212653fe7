"""Logs: whatever a worker says is a line of JSON, and names what it is about."""

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stage import Stage
from tests.factories import ASSET, an_asset
from tests.waiting import wait_until
from worker.embedded import WorkerProcess, command


def started(stage: Stage, pool: str) -> tuple[WorkerProcess, Path]:
    """Start a worker; returns it, and the file that has its standard error alone."""
    said, log = stage.folder / "worker.out", stage.folder / "worker.log"
    with said.open("wb") as output, log.open("wb") as errors:
        worker = WorkerProcess(
            command(queues="exports,downloads", pool=pool, concurrency=2),
            environment=stage.environment,
            output=output,
            launch=partial(stage.forge.launch, errors=errors),
        )
    stage.workers.append(worker)
    return worker, log


def lines_of(log: Path) -> list[dict[str, Any]]:
    """Return the lines that are whole; each of them must be JSON."""
    whole, _, _ = log.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


@pytest.mark.parametrize(
    ("pool", "level"), [("prefork", "INFO"), ("threads", "debug")], indirect=["pool"]
)
def test_each_line_is_json_and_names_what_it_is_about(stage: Stage, pool: str, level: str) -> None:
    stage.settings["LOG_LEVEL"] = level
    stage.emulator.control.fault("media", "status", status=500, times=1)
    worker, log = started(stage, pool)
    request_id = stage.send(asset=ASSET, aaclc=True)
    export = stage.stored(request_id)
    wrong = stage.send(task="exports.download", export_id="none")
    refused = stage.send(asset="none")
    stage.ended(refused)
    withdrawn = stage.send(asset=an_asset())
    stage.order("exports.cancel", request_id=withdrawn)
    stage.ended(withdrawn)

    def events(**ids: str) -> list[str]:
        return [line["event"] for line in lines_of(log) if ids.items() <= line.items()]

    wait_until(lambda: events(task_id=wrong, logger="celery.app.trace"), what="its traceback")
    wait_until(lambda: events(request_id=withdrawn, task="exports.cancel"), what="its end")
    told = [e for e in events(export_id=str(export.id)) if e != "job not done yet"]
    assert told == [
        *("request recorded", "export under way", "job done"),
        *("download begun", "step failed", "download begun", "export stored"),
    ]
    assert events(request_id=request_id, export_id=str(export.id)) == ["request recorded"]
    assert events(request_id=refused, level="warning") == ["message refused"]
    lines = lines_of(log)
    for line in lines:
        assert {"timestamp", "level", "logger", "event"} <= line.keys()
        if line["logger"].startswith("worker.steps"):
            assert {"task", "task_id"} <= line.keys(), line
        if line["task" if "task" in line else "event"].startswith("exports.create"):
            assert line.get("request_id", line["task_id"]) == line["task_id"]
    (traceback,) = [line["exception"] for line in lines if "exception" in line]
    assert "ValueError: badly formed hexadecimal UUID string" in traceback
    is_talkative = any(line["event"].startswith("Task exports.poll") for line in lines)
    assert is_talkative == (level == "debug")
    if pool == "prefork":
        child = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
        os.kill(int(child.read_text().split()[0]), signal.SIGKILL)
        wait_until(lambda: "SIGKILL" in log.read_text(), what="what Celery says of it")
    worker.process.terminate()
    worker.process.wait()
    lines_of(log)
    out = (stage.folder / "worker.out").read_text().split("\n")
    assert [line for line in out if line] == ["worker: Warm shutdown (MainProcess)"]
