"""Retry: what comes twice is done once, and what a code says is retried no more than that."""

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from models import Export, State
from tests.factories import Clock, an_asset
from tests.uplynk import Uplynk
from worker import steps
from worker.cloudslicer import JobState
from worker.steps import Kit

Sessions = sessionmaker[Session]


def fails(kit: Kit, uplynk: Uplynk, clock: Clock) -> None:
    """Have whatever is to be exported fail at Uplynk."""
    steps.submit(kit)
    for job_id in uplynk.made:
        uplynk.finish(job_id, JobState.ERROR)
    clock.move(minutes=1)
    steps.poll(kit)
    clock.move(minutes=1)


def states(sessions: Sessions) -> list[State]:
    with sessions.begin() as session:
        return list(session.scalars(select(Export.state).order_by(Export.created_at)))


def test_a_retry_that_comes_twice_pays_once(
    sessions: Sessions, kit: Kit, uplynk: Uplynk, clock: Clock
) -> None:
    steps.create(kit, "request", {"asset": an_asset()})
    fails(kit, uplynk, clock)
    steps.retry(sessions, "request", now=clock(), by="message")
    fails(kit, uplynk, clock)
    steps.retry(sessions, "request", now=clock(), by="message")
    steps.submit(kit)
    assert len(uplynk.made) == 2
    steps.retry(sessions, "request", now=clock(), by="another")
    steps.submit(kit)
    assert len(uplynk.made) == 3


def test_a_retry_by_code_that_comes_twice_pays_once(
    sessions: Sessions, kit: Kit, uplynk: Uplynk, clock: Clock
) -> None:
    steps.create(kit, "request", {"asset": an_asset()})
    fails(kit, uplynk, clock)
    steps.retry_failed(sessions, "export_error", now=clock(), by="message")
    fails(kit, uplynk, clock)
    report = steps.retry_failed(sessions, "export_error", now=clock(), by="message")
    steps.submit(kit)
    assert report.facts["retried"] == 0
    assert len(uplynk.made) == 2


def test_two_requests_of_one_export_are_retried_as_one(
    sessions: Sessions, kit: Kit, uplynk: Uplynk, clock: Clock
) -> None:
    asset = an_asset()
    for request_id in ("first", "second"):
        steps.create(kit, request_id, {"asset": asset})
    fails(kit, uplynk, clock)
    report = steps.retry_failed(sessions, "export_error", now=clock())
    assert report.facts["retried"] == 2
    assert states(sessions) == [State.FAILED, State.REQUESTED]
    steps.submit(kit)
    assert len(uplynk.made) == 2


def test_what_failed_again_in_the_meantime_is_left_alone(
    sessions: Sessions, kit: Kit, uplynk: Uplynk, clock: Clock
) -> None:
    steps.create(kit, "request", {"asset": an_asset()})
    before = clock()
    fails(kit, uplynk, clock)
    report = steps.retry_failed(sessions, "export_error", now=clock(), before=before)
    assert report.facts["retried"] == 0
    assert states(sessions) == [State.FAILED]


def test_a_message_that_comes_again_does_not_undo_a_cancel(
    sessions: Sessions, kit: Kit, uplynk: Uplynk, clock: Clock
) -> None:
    steps.create(kit, "request", {"asset": an_asset()})
    fails(kit, uplynk, clock)
    steps.retry(sessions, "request", now=clock(), by="message")
    steps.cancel(sessions, "request", now=clock())
    steps.retry(sessions, "request", now=clock(), by="message")
    assert states(sessions) == [State.FAILED, State.CANCELLED]
