"""Telling: no event is lost by the death of who delivers it, and no receiver holds up work."""

from functools import partial

import pytest
from sqlalchemy import func, select

from models import Notification
from tests.acceptance.stage import Stage
from tests.factories import ASSET
from tests.raw_server import Say, raw_server
from tests.receiver import SECRET, Receiver, receiving
from tests.waiting import wait_until
from worker.steps.courier import MOST_AT_ONCE

COUNT = 40


@pytest.fixture
def telling(stage: Stage) -> Stage:
    """Give a stage whose workers post webhooks to this machine."""
    stage.settings |= {"WEBHOOK_SECRET": SECRET, "WEBHOOK_HOSTS": "127.0.0.1"}
    return stage


def pending(stage: Stage) -> int:
    """Return how many notifications are still to be delivered."""
    with stage.sessions.begin() as session:
        due = select(func.count()).where(Notification.due_at.is_not(None))
        return session.scalar(due) or 0


def has_come(receiver: Receiver, count: int) -> bool:
    return receiver.came >= count


@pytest.mark.timeout(180)
def test_not_one_event_is_lost_when_those_are_killed_who_deliver_them(telling: Stage) -> None:
    telling.settings["WEBHOOK_TIMEOUT_SECONDS"] = "5"
    with receiving() as receiver:
        receiver.delay_seconds = 0.2
        worker = telling.start("prefork")
        sent = {telling.send(asset="none", webhook_url=receiver.url) for _ in range(COUNT)}
        for came in (3, 20):
            wait_until(partial(has_come, receiver, came), what=f"{came} events")
            telling.kill(worker)
            worker = telling.start("prefork")
        wait_until(
            lambda: telling.messages() == 0 and not pending(telling), seconds=60, what="the last"
        )
        told = [event["data"]["request_id"] for event in receiver.events]
        ids = {event["id"] for event in receiver.events}
    assert set(told) == sent
    assert len(ids) == COUNT, "what came twice bears the same id"
    assert len(told) <= COUNT + 2 * MOST_AT_ONCE


def test_receivers_that_hang_hold_up_no_export(telling: Stage) -> None:
    telling.settings["WEBHOOK_TIMEOUT_SECONDS"] = "60"  # longer than anything here is waited for
    with raw_server(Say(hold=True)) as hanging, receiving() as receiver:
        telling.start("threads")
        for _ in range(COUNT):
            telling.send(asset="none", webhook_url=hanging.url)
        wait_until(lambda: hanging.connections, what="the first of them")
        request_id = telling.send(asset=ASSET, webhook_url=receiver.url)
        telling.stored(request_id, seconds=30)
        assert pending(telling) >= COUNT
        wait_until(lambda: receiver.events, what="the event of the other receiver")
