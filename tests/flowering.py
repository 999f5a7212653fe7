"""Flowering: Flower beside real workers, and something for it to show."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import requests

from models import State
from tests.acceptance.stage import Stage
from tests.factories import an_asset
from tests.services import end, free_port
from tests.waiting import wait_until

USER = ("editor", "hunter2-flower")
SECRET = "s3cret-of-the-cms"
FAILURES = 2  # of what is played


@contextmanager
def flower(stage: Stage, **variables: str) -> Iterator[str]:
    """Run Flower as anybody would by hand; gives its URL once it answers."""
    port = free_port()
    with (stage.folder / "flower.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "worker", "flower", f"--port={port}"],
            env={**os.environ, **stage.environment, **variables},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(f"{url}/healthcheck"), what="Flower")
        yield url
    finally:
        end(process)  # Flower 2 was seen to go on after its SIGTERM, once in many


def _answers(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(url, timeout=5).ok
    return False


def played(stage: Stage) -> None:
    """Have something of everything: a film, one at the second try, and two that can't be had."""
    missing, late = an_asset(), an_asset()
    stage.emulator.control.asset(missing, missing=True)
    stage.emulator.control.fault("media", "status", asset=late, status=503, times=1)
    stage.start("prefork", queues="exports")
    stage.start("threads", queues="downloads")
    wish: dict[str, Any] = {
        "requester": "newsroom",
        "metadata": {"article": 4711, "token": SECRET},
        "callback": {"task": "cms.export_finished", "queue": "cms"},
    }
    stage.stored(stage.send(asset=an_asset(), **wish))
    stage.stored(stage.send(asset=late, priority=10))
    refused = stage.send(asset=missing)
    assert stage.ended(refused).state is State.FAILED
    senseless = stage.send(asset="no-asset", webhook_url=f"https://cms.example/hook?key={SECRET}")
    assert stage.ended(senseless).state is State.FAILED


def tasks(url: str) -> list[Mapping[str, Any]]:
    """Return what Flower tells of all tasks."""
    answer = requests.get(f"{url}/api/tasks", auth=USER, timeout=60)
    assert answer.status_code == 200, answer.text
    return list(answer.json().values())


def settled(url: str) -> list[Mapping[str, Any]]:
    """Return what Flower tells of all tasks of `played`, once each that it heard of has ended.

    It hears of them up to a second later: the failures come last.
    """

    def ended() -> list[Mapping[str, Any]] | None:
        found = tasks(url)
        states = [task["state"] for task in found]
        is_all = states.count("FAILURE") >= FAILURES
        return found if is_all and {"STARTED", "RECEIVED"}.isdisjoint(states) else None

    return wait_until(ended, what="an end of each task that Flower heard of")
