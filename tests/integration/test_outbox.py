"""Outbox: whoever wants to know is told of each end, in the transaction that it comes true in."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from models import Channel, Export, Notification, Request, State, outbox
from models.batch import Batch
from tests.factories import ACCOUNT, Clock, an_asset, make_export
from tests.uplynk import Uplynk
from worker import steps
from worker.cloudslicer import JobState
from worker.errors import InvalidRequest
from worker.steps import Kit, bulk
from worker.steps.wanted import locked
from worker.steps.wish import Wish

Sessions = sessionmaker[Session]
CALLBACK = {"task": "cms.export_finished", "queue": "cms"}
HOOK = "https://cms.example/hooks"


def told(sessions: Sessions) -> Sequence[Notification]:
    with sessions.begin() as session:
        return session.scalars(
            select(Notification).order_by(Notification.created_at, Notification.channel)
        ).all()


def requested(kit: Kit, request_id: str, asset: str, **members: Any) -> None:
    steps.create(kit, request_id, {"asset": asset, "callback": CALLBACK, **members})


def advance(sessions: Sessions, request_id: str, *states: State, now: datetime) -> None:
    with sessions.begin() as session:
        export = session.get_one(Request, request_id).export
        assert export is not None
        for state in states:
            export.advance(state, now=now, reason="a test's")


STORED = (State.SUBMITTING, State.EXPORTING, State.DOWNLOADING, State.STORED)


def test_each_request_of_an_export_is_told_by_each_way_that_it_named(
    sessions: Sessions, clock: Clock, kit: Kit
) -> None:
    asset = an_asset()
    requested(kit, "both", asset, webhook_url=HOOK, metadata={"article": 4711})
    requested(kit, "one", asset)
    steps.create(kit, "none", {"asset": asset})
    steps.create(kit, "withdrawn", {"asset": asset, "webhook_url": HOOK})
    steps.cancel(sessions, "withdrawn", now=clock())
    clock.move(seconds=1)
    advance(sessions, "both", *STORED, now=clock())
    ends = [each for each in told(sessions) if each.type == "export.stored"]
    assert sorted((each.request_id, each.channel) for each in ends) == [
        ("both", Channel.TASK),
        ("both", Channel.WEBHOOK),
        ("one", Channel.TASK),
    ]
    ids = {each.request_id: each.payload["id"] for each in ends}
    assert len(set(ids.values())) == 2, "an event is the same by each way"
    assert all(UUID(text) for text in ids.values())
    assert {each.receiver for each in ends} == {"queue cms", "https://cms.example"}
    [event] = [each.payload for each in ends if each.channel is Channel.WEBHOOK]
    assert event["timestamp"] == clock().isoformat().replace("+00:00", "Z")
    assert event["data"]["metadata"] == {"article": 4711}
    assert (event["data"]["request_id"], event["data"]["state"]) == ("both", "stored")


def test_it_holds_what_a_cms_is_promised(sessions: Sessions, clock: Clock, kit: Kit) -> None:
    asset = an_asset()
    requested(kit, "request", asset, aaclc=True)
    with sessions.begin() as session:
        export = session.get_one(Request, "request").export
        assert export is not None
        for state in STORED:
            export.advance(state, now=clock(), reason="a test's")
        export.storage_url, export.size_bytes = "s3://films/a.mp4", 12
        export.sha256, export.duration_seconds = "f" * 64, 1.5
        export.captions_url = "s3://films/a.ttml"
    [notification] = told(sessions)
    assert notification.payload == {
        "id": notification.payload["id"],
        "type": "export.stored",
        "timestamp": clock().isoformat().replace("+00:00", "Z"),
        "data": {
            "request_id": "request",
            "export_id": str(export.id),
            "asset": asset,
            "audio": "aac-lc",
            "state": "stored",
            "storage_url": "s3://films/a.mp4",
            "size_bytes": 12,
            "sha256": "f" * 64,
            "duration_seconds": 1.5,
            "captions_url": "s3://films/a.ttml",
            "error": None,
            "metadata": {},
        },
    }


def test_a_failure_is_told_with_its_reason(sessions: Sessions, clock: Clock, kit: Kit) -> None:
    requested(kit, "request", an_asset())
    with sessions.begin() as session:
        export = session.get_one(Request, "request").export
        assert export is not None
        export.fail("export_error", "no such luck", now=clock())
    [notification] = told(sessions)
    assert notification.type == "export.failed"
    assert notification.payload["data"]["error"] == {
        "code": "export_error",
        "message": "no such luck",
    }


def test_what_is_rolled_back_is_not_told(sessions: Sessions, clock: Clock, kit: Kit) -> None:
    requested(kit, "request", an_asset())
    with sessions() as session:
        export = session.get_one(Request, "request").export
        assert export is not None
        export.fail("export_error", "no such luck", now=clock())
        session.flush()
        session.rollback()
        session.commit()
    assert told(sessions) == []


def test_an_export_that_another_takes_the_place_of_is_not_told_of(
    sessions: Sessions, clock: Clock, uplynk: Uplynk, kit: Kit
) -> None:
    requested(kit, "request", an_asset())
    steps.submit(kit)
    [job_id] = uplynk.made
    uplynk.finish(job_id, JobState.DONE)
    clock.move(hours=100)  # Uplynk has erased it
    steps.poll(kit)
    with sessions.begin() as session:
        lost = session.scalars(select(Export).where(Export.error_code == "job_lost")).one()
        assert lost.state is State.FAILED
        assert session.get_one(Request, "request").state is State.REQUESTED
    assert told(sessions) == []


def test_who_withdraws_is_told_so_and_of_nothing_after_that(
    sessions: Sessions, clock: Clock, kit: Kit
) -> None:
    requested(kit, "request", an_asset())
    steps.cancel(sessions, "request", now=clock())
    steps.cancel(sessions, "request", now=clock())
    [notification] = told(sessions)
    assert notification.type == "export.cancelled"
    assert notification.payload["data"]["error"] is None


def test_a_request_that_was_withdrawn_and_comes_back_to_a_stored_file_is_told(
    sessions: Sessions, clock: Clock, kit: Kit
) -> None:
    asset = an_asset()
    requested(kit, "request", asset)
    steps.create(kit, "other", {"asset": asset})
    steps.cancel(sessions, "request", now=clock())
    advance(sessions, "other", *STORED, now=clock())
    clock.move(seconds=1)
    steps.retry(sessions, "request", now=clock())
    steps.retry(sessions, "request", now=clock())
    assert [each.type for each in told(sessions)] == ["export.cancelled", "export.stored"]


def test_a_refusal_is_told_by_what_of_the_message_makes_sense(sessions: Sessions, kit: Kit) -> None:
    with pytest.raises(InvalidRequest):
        steps.create(
            kit,
            "request",
            {"asset": "none", "callback": CALLBACK, "webhook_url": "ftp://x", "metadata": {"a": 1}},
        )
    [notification] = told(sessions)
    assert (notification.channel, notification.type) == (Channel.TASK, "export.failed")
    data = notification.payload["data"]
    assert (data["asset"], data["export_id"], data["metadata"]) == ("none", None, {"a": 1})
    assert data["error"]["code"] == "invalid_request"
    with pytest.raises(InvalidRequest):
        steps.create(kit, "request", {"asset": "none", "callback": CALLBACK})
    assert len(told(sessions)) == 1


def test_a_line_of_a_list_whose_file_is_there_already_is_told_at_once(
    sessions: Sessions, clock: Clock
) -> None:
    stored = make_export(sessions, state=State.STORED, due_at=None, storage_url="s3://films/a.mp4")
    with sessions.begin() as session:
        session.add(Batch(name="list", account=ACCOUNT, created_at=clock()))
    entry = bulk.Entry(
        "request", Wish.model_validate({"asset": stored.asset, "callback": CALLBACK})
    )
    where = bulk.Batchful(ACCOUNT, "list")
    for _ in range(2):
        bulk.record(sessions, where, [entry], now=clock())
    [notification] = told(sessions)
    assert notification.type == "export.stored"
    assert notification.payload["data"]["storage_url"] == "s3://films/a.mp4"


def test_who_writes_news_knows_it(sessions: Sessions, kit: Kit) -> None:
    asset = an_asset()
    requested(kit, "request", asset)
    assert not outbox.has_news(sessions)
    advance(sessions, "request", *STORED, now=datetime.now(UTC))
    assert outbox.has_news(sessions)
    assert not outbox.has_news(sessions)


def test_a_cancellation_that_came_before_its_request_is_told_once_that_comes(
    sessions: Sessions, clock: Clock, kit: Kit
) -> None:
    steps.cancel(sessions, "request", now=clock())
    assert told(sessions) == []
    for _ in range(2):
        requested(kit, "request", an_asset(), metadata={"article": 4711})
    [notification] = told(sessions)
    assert notification.type == "export.cancelled"
    assert notification.payload["data"]["metadata"] == {"article": 4711}


def test_an_end_is_told_whatever_was_locked_before(
    sessions: Sessions, clock: Clock, kit: Kit
) -> None:
    requested(kit, "request", an_asset())
    with sessions.begin() as session:
        _, export = locked(session, "request")
        assert export is not None
        export.fail("export_error", "no such luck", now=clock())
    assert [each.type for each in told(sessions)] == ["export.failed"]
