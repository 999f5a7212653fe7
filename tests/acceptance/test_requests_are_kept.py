"""A request that was sent is kept: until it is in SQL, its message is all that knows of it."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
from celery import Celery
from sqlalchemy import make_url

import migrations
from models import State
from models.database import open_engine, open_sessions
from tests.acceptance.stage import CONCURRENCY, Stage
from tests.factories import ASSET, an_asset, make_export
from tests.waiting import wait_until
from worker.steps.crew import LANES


def log(stage: Stage) -> str:
    return (stage.folder / "worker.log").read_text()


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Keep every other connection from writing requests."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(str(url.database), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.close()
        return
    with psycopg.connect(database_url) as server:
        server.execute("LOCK TABLE requests IN EXCLUSIVE MODE")
        yield


def test_a_request_waits_for_tables_that_are_not_there_yet(stage: Stage, tmp_path: Path) -> None:
    stage.database_url = f"sqlite:///{tmp_path}/late.db"
    engine = open_engine(stage.database_url)
    stage.sessions = open_sessions(engine)
    stage.start("prefork")
    request_id = stage.send(asset=ASSET)
    wait_until(lambda: "database unavailable" in log(stage), what="a worker without tables")
    migrations.upgrade(stage.database_url)
    stage.stored(request_id)
    engine.dispose()


@pytest.mark.services  # it takes its time
@pytest.mark.timeout(120)
def test_a_request_outlives_the_worker_that_was_killed_with_it_in_its_hands(stage: Stage) -> None:
    with locked(stage.database_url):
        worker = stage.start("threads")
        request_id = stage.send(asset=ASSET)
        wait_until(stage.unacknowledged, what="a worker that has it in its hands")
        stage.kill(worker)
    assert stage.request(request_id) is None
    stage.start("threads")
    stage.stored(request_id)  # the broker gives it out again after half a minute


def test_a_message_that_is_no_json_is_thrown_away_and_the_worker_goes_on(stage: Stage) -> None:
    stage.start("threads")
    with Celery(broker=stage.broker_url, set_as_current=False) as app:
        app.send_task("exports.create", queue="exports", serializer="pickle")
        app.send_task("exports.nonsense", queue="exports")
        app.send_task("exports.create", ["positional"], queue="exports")
    stage.stored(stage.send(asset=an_asset()))
    wait_until(lambda: stage.messages() == 0, what="an empty broker")


def test_requests_are_recorded_and_asked_for_while_uplynk_answers_nothing(
    stage: Stage, pool: str
) -> None:
    stage.settings["UPLYNK_TIMEOUT_SECONDS"] = "60"
    stage.emulator.control.fault("*", "hang")
    make_export(stage.sessions, state=State.EXPORTING, job_id="j0", due_at=datetime.now(UTC))
    worker = stage.start(pool)
    places_that_ask = CONCURRENCY // 2

    def is_asked_for(number: int) -> bool:
        states = Counter(export.state for export in stage.exports())
        return states[State.SUBMITTING] == number

    for number in range(1, LANES + 1):  # each comes when the others hang
        stage.send(asset=an_asset())
        wait_until(partial(is_asked_for, number), what="the call")
    for _ in range(places_that_ask * LANES):
        stage.send(asset=an_asset())
    wait_until(partial(is_asked_for, places_that_ask * LANES), what="as many calls as may be made")
    # the one look has left those places free; others, due from now on, may take none that is left
    now = datetime.now(UTC)
    for number in range(1, CONCURRENCY):  # apart: none of them waits for the others
        due_at = now + timedelta(seconds=number / 2)
        make_export(stage.sessions, state=State.EXPORTING, job_id=f"j{number}", due_at=due_at)
    late = stage.send(asset=an_asset())
    wait_until(lambda: stage.request(late), what="the request that came last")
    stage.kill(worker)
