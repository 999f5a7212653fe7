"""Flood: a CMS sends all that it has, and what is under way goes on meanwhile."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy import func, select

from models import History, Request, State
from tests.acceptance.stage import Stage
from tests.factories import an_asset, build_export, make_kit
from tests.waiting import wait_until

# So many that a worker is at them for a second or more.
REQUESTS = 400
# Workers that are killed, and how many more requests each has set down by then.
KILLS, EACH = 3, 20
# Seconds: each is a transaction on SQLite, beside other tests.
PATIENCE = 120.0

pytestmark = [
    pytest.mark.timeout(300),
    # the children of one worker wait for each other at one SQLite file, at a minute a flood
    pytest.mark.parametrize(
        "pool", ["threads", pytest.param("prefork", marks=pytest.mark.services)], indirect=True
    ),
]


def flood(stage: Stage, *, requests: int = REQUESTS, **options: int) -> None:
    """Send so many requests that the broker has before any worker is there."""
    with Celery(broker=stage.broker_url, set_as_current=False) as app:
        for _ in range(requests):
            kwargs = {"asset": an_asset()}
            app.send_task("exports.create", queue="exports", kwargs=kwargs, **options)


def recorded(stage: Stage) -> int:
    """Return how many requests are on record."""
    with stage.sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(Request)) or 0


def are_recorded(stage: Stage, count: int) -> bool:
    """Return whether so many requests are on record, or more."""
    return recorded(stage) >= count


def test_a_job_that_ends_is_found_while_requests_come_in(
    stage: Stage, pool: str, tmp_path: Path
) -> None:
    stage.settings["MAX_EXPORTING"] = "1"  # nothing else is under way
    asset = an_asset()
    stage.emulator.control.asset(asset, run_seconds=0)
    kit = make_kit(stage.sessions, tmp_path, emulator=stage.emulator)
    job, now = kit.slicer.create_export(asset, aaclc=False).id, datetime.now(UTC)
    export = build_export(
        state=State.EXPORTING, asset=asset, job_id=job, job_created_at=now, due_at=now
    )
    with stage.sessions.begin() as session:
        session.add(export)
    flood(stage)
    stage.start(pool)
    wait_until(lambda: recorded(stage) == REQUESTS, seconds=PATIENCE, what="all requests on record")
    with stage.sessions.begin() as session:
        found_at = session.scalar(
            select(History.at).where(
                History.export_id == export.id, History.to_state == State.DOWNLOADING
            )
        )
        assert found_at is not None
        before = select(func.count()).where(Request.created_at < found_at)
        assert (session.scalar(before) or 0) < REQUESTS * 3 / 4


def test_what_a_cms_sends_with_a_low_priority_lets_others_pass(stage: Stage, pool: str) -> None:
    stage.settings["MAX_EXPORTING"] = "1"
    flood(stage, priority=9)
    clip = stage.send(asset=an_asset())
    stage.start(pool)
    wait_until(
        lambda: recorded(stage) == REQUESTS + 1, seconds=PATIENCE, what="all requests on record"
    )
    with stage.sessions.begin() as session:
        created_at = session.get_one(Request, clip).created_at
        before = select(func.count()).where(Request.created_at < created_at)
        assert (session.scalar(before) or 0) < REQUESTS / 10


def test_what_killed_workers_were_just_given_comes_again(stage: Stage, pool: str) -> None:
    requests = (KILLS + 2) * EACH
    flood(stage, requests=requests)
    for kill in range(1, KILLS + 1):
        worker = stage.start(pool)
        wait_until(
            partial(are_recorded, stage, kill * EACH),
            seconds=PATIENCE,
            every=0.01,
            what="some on record",
        )
        stage.kill(worker)
    stage.start(pool)

    def all_are_on_record() -> bool:
        stage.run_out()
        return recorded(stage) == requests

    wait_until(all_are_on_record, seconds=PATIENCE, what="all requests on record")
