"""Metrics: two workers and the database tell Prometheus what Uplynk and the storage know, too."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import requests

from emulator.fault_kinds import API_CALLS
from models import State
from tests.acceptance.stage import Stage
from tests.chaos import processes
from tests.factories import an_asset
from tests.scraping import Scraped, scraped, summed
from tests.services import free_port
from tests.waiting import wait_until
from worker.embedded import WorkerProcess


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}/metrics"


@contextmanager
def fleet(stage: Stage) -> Iterator[str]:
    """Run `uplynk-export metrics`; gives its URL once it answers."""
    port = free_port()
    with (stage.folder / "metrics.log").open("ab") as log:
        process = stage.forge.launch(
            [sys.executable, "-m", "worker.cli", "metrics", "--port", str(port)],
            {**os.environ, **stage.environment},
            log,
        )
    try:
        wait_until(lambda: answers(port), what="uplynk-export metrics")
        yield url_of(port)
    finally:
        process.terminate()
        assert process.wait(60) == 0


def answers(port: int) -> bool:
    with suppress(requests.RequestException):
        return requests.get(url_of(port), timeout=5, headers={"Connection": "close"}).ok
    return False


def kill_children(worker: WorkerProcess) -> None:
    killed = set(processes.children(worker.process.pid))
    assert killed
    for child in killed:
        os.kill(child, signal.SIGKILL)

    def are_replaced() -> bool:
        there = processes.children(worker.process.pid)
        return len(there) == len(killed) and killed.isdisjoint(there)

    wait_until(are_replaced, what="other children")


def test_what_is_told_is_what_uplynk_and_the_storage_know(stage: Stage) -> None:
    ports = [free_port(), free_port()]
    workers = []
    # on a busy machine a shorter claim may run out, and then a file is brought twice
    stage.settings["CLAIM_SECONDS"] = "30"
    for port in ports:
        stage.settings["METRICS_PORT"] = str(port)
        workers.append(stage.start("prefork"))
    for port in ports:
        wait_until(lambda port=port: answers(port), what="a worker's metrics")  # type: ignore[misc]
    fault = {"code": 7, "msg": "Not found"}
    stage.emulator.control.fault("jobs/create_export", "error", times=1, **fault)
    failed = stage.ended(stage.send(asset=an_asset()))
    assert failed.state is State.FAILED
    exports = [stage.stored(each) for each in [stage.send(asset=an_asset()) for _ in range(6)]]
    for worker in workers:
        kill_children(worker)
    exports += [stage.stored(each) for each in [stage.send(asset=an_asset()) for _ in range(2)]]

    def looks() -> Sequence[Scraped]:
        return [scraped(url_of(port)) for port in ports]

    def is_told() -> bool:
        calls = summed(look.by("calls_total", "call") for look in looks())
        counted = stage.emulator.control.calls()["calls"]
        return calls == {call: counted[call] for call in API_CALLS & counted.keys()}

    wait_until(is_told, what="as many calls as Uplynk counted")
    ends = summed(look.by("calls_total", "call", "outcome") for look in looks())
    assert ends["jobs/create_export ok"] == len(exports)
    assert ends["jobs/create_export uplynk_not_found"] == 1
    assert summed(look.by("call_seconds_count", "call") for look in looks()) == summed(
        look.by("calls_total", "call") for look in looks()
    )
    brought = sum(look.value("downloaded_bytes_total") for look in looks())
    assert brought == sum(export.size_bytes or 0 for export in exports)
    assert all(look.value("worker_serves", queue="downloads") == 1 for look in looks())
    with fleet(stage) as url:
        seen = scraped(url)
    assert seen.value("database_up") == 1
    assert seen.value("exports", state="stored") == seen.value("stored_last_hour") == len(exports)
    assert seen.value("stored_last_hour_bytes") == brought
    assert seen.by("failed_last_hour", "code") == {"uplynk_not_found": 1}
