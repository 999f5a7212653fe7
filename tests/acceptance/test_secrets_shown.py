"""Secrets: a worker that exports, fails and asks on shows them nowhere, at its most talkative."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from sqlalchemy import create_engine, make_url, text

from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from models import State
from tests.acceptance.stage import Stage
from tests.factories import an_asset
from tests.services import redis_server
from tests.waiting import wait_until
from worker.embedded import WorkerProcess, command

pytestmark = pytest.mark.services

API_KEY = "hunter2-of-uplynk"
DATABASE_PASSWORD = "hunter2-of-the-database"
BROKER_PASSWORD = "hunter2-of-the-broker"
TOKEN = "hunter2-of-the-url"
MEANT_FOR_THE_CMS = "hunter2-of-the-metadata"
SECRETS = (API_KEY, DATABASE_PASSWORD, BROKER_PASSWORD, TOKEN)
SIGNATURE = re.compile(r"\bsig=|(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@pytest.fixture
def guarded(stage: Stage) -> Iterator[Stage]:
    """Give a stage on which everything has a password."""
    with (
        Emulator(EmulatorSettings(api_key=API_KEY, run_seconds=1.0)) as emulator,
        redis_server() as (broker_url, _),
    ):
        with redis.Redis.from_url(broker_url) as client:
            client.config_set("requirepass", BROKER_PASSWORD)
        stage.emulator = emulator
        stage.broker_url = broker_url.replace("//", f"//:{BROKER_PASSWORD}@")
        database = make_url(stage.database_url).set(password=DATABASE_PASSWORD)
        stage.database_url = database.render_as_string(hide_password=False)
        stage.settings = {"UPLYNK_API_KEY": API_KEY}
        yield stage
        for worker in stage.workers:
            worker.stop()


def start_talkative(stage: Stage, form: str) -> None:
    """Start a worker that logs all that it can, in one of the forms."""
    arguments = command(queues="exports,downloads", pool="threads", concurrency=4, level="DEBUG")
    with (stage.folder / "worker.log").open("ab") as log:
        environment = {**stage.environment, "LOG_FORMAT": form}
        worker = WorkerProcess(
            arguments, environment=environment, output=log, launch=stage.forge.launch
        )
        stage.workers.append(worker)


@contextmanager
def listening(stage: Stage) -> Iterator[list[dict[str, Any]]]:
    """Give every event that the workers send, as Flower gets them."""
    heard: list[dict[str, Any]] = []
    with (
        Celery(broker=stage.broker_url, set_as_current=False) as app,
        app.connection_for_read() as connection,
    ):
        receiver = app.events.Receiver(connection, handlers={"*": heard.append})
        thread = Thread(target=receiver.capture, kwargs={"timeout": 60, "wakeup": False})
        thread.start()
        try:
            yield heard
        finally:
            receiver.should_stop = True
            thread.join()


def table(stage: Stage, name: str, *, without: str = "") -> str:
    """Return all that a table holds, but for one column."""
    engine = create_engine(stage.database_url)
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT * FROM {name}")).mappings().all()  # noqa: S608
    engine.dispose()
    return "\n".join(str({k: v for k, v in row.items() if k != without}) for row in rows)


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_is_shown_anywhere(guarded: Stage, form: str) -> None:
    stage, lost = guarded, an_asset()
    url = f"{stage.emulator.url}/slices/{'0' * 32}_g.mp4?token={TOKEN}"
    member = {"member": "hd_exported_url", "value": url}
    stage.emulator.control.fault("jobs/get", "malformed", asset=lost, **member)
    stage.emulator.control.fault("jobs/get", "status", status=500, times=1)
    stage.emulator.control.fault(
        "jobs/create_export", "error", code=9, msg=f"{API_KEY} is a bad key", times=1
    )
    refused = stage.send(asset=an_asset())
    with listening(stage) as events:
        start_talkative(stage, form)
        assert stage.ended(refused).state is State.FAILED
        request_id = stage.send(asset=an_asset(), metadata={"note": MEANT_FOR_THE_CMS})
        failing = stage.send(asset=lost)
        export = stage.stored(request_id)
        log = stage.folder / "worker.log"
        wait_until(lambda: "answered with HTTP 404" in log.read_text(), what="a failed download")
        wait_until(lambda: [e for e in events if e["type"] == "task-succeeded"], what="events")
        told = "\n".join(
            shown.stdout + shown.stderr
            for shown in (
                stage.cli("doctor"),
                stage.cli("list", "--json"),
                stage.cli("show", request_id),
                stage.cli("show", failing),
                stage.cli("show", refused),
                stage.celery("inspect", "active"),
                stage.celery("report"),
            )
        )
    shown = {
        "log": log.read_text(),
        "events": str(events),
        "command line": told,
        "exports": table(stage, "exports", without="url"),
        "requests": table(stage, "requests"),
        "history": table(stage, "history"),
    }
    assert TOKEN in table(stage, "exports"), "the one column that holds it"
    assert re.search(r'"debug"|\[debug', shown["log"]), "else it was not talkative"
    leaks = [(where, word) for where, said in shown.items() for word in SECRETS if word in said]
    assert leaks == []
    assert MEANT_FOR_THE_CMS not in shown["log"]
    hashes = {str(export.sha256)}
    signatures = {where: set(SIGNATURE.findall(said)) - hashes for where, said in shown.items()}
    assert {where: found for where, found in signatures.items() if found} == {}
    assert urlsplit(str(export.url)).path not in shown["log"] + shown["events"]
