"""Notify: each notification reaches its receiver, once at least and in order."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, repeat
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from models import Notification, Request, deliveries, outbox
from tests.factories import Clock, make_kit
from tests.raw_server import Say, http, raw_server
from tests.receiver import OTHER_SECRET, SECRET, Receiver, receiving
from tests.waiting import wait_until
from worker import pace, steps
from worker.errors import Stopping, Undelivered
from worker.steps import Kit, Step
from worker.steps.courier import Courier
from worker.webhooks import Webhooks

Sessions = sessionmaker[Session]


@dataclass
class Calls:
    """A broker that keeps what is sent, unless it is away."""

    sent: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    is_away: bool = False

    def __call__(self, task: str, queue: str, event: Mapping[str, Any]) -> None:
        if self.is_away:
            raise Undelivered("the broker can't be reached", is_of_receiver=True)
        self.sent.append((task, queue, event))


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def kit(sessions: Sessions, tmp_path: Path, clock: Clock, calls: Calls) -> Kit:
    return kit_of(sessions, tmp_path, clock, calls)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def kit_of(sessions: Sessions, tmp_path: Path, clock: Clock, calls: Calls, **members: Any) -> Kit:
    settings = {
        "webhook_hosts": "127.0.0.0/8,localhost",
        "webhook_secret": SECRET,
        "webhook_timeout_seconds": 30,
        **members,
    }
    return make_kit(sessions, tmp_path, now=clock, call=calls, **settings)


def outboxed(sessions: Sessions, url: str | None, *, at: datetime, count: int = 1) -> list[str]:
    """Write events of one request into the outbox, a second apart; returns their ids."""
    request = Request(
        id=uuid4().hex,
        created_at=at,
        webhook_url=url,
        callback_task=None if url else "cms.done",
        callback_queue=None if url else "cms",
        metadata_={"title": "Zwölf Uhr ☂"},
    )
    with sessions.begin() as session:
        session.add(request)
        session.flush()
        times = [at - timedelta(seconds=count - number) for number in range(count)]
        told = [message for time in times for message in outbox.messages(request, at=time)]
        session.add_all(told)
    return [str(message.payload["id"]) for message in told]


def rows(sessions: Sessions) -> Sequence[Notification]:
    with sessions.begin() as session:
        return session.scalars(select(Notification).order_by(Notification.created_at)).all()


def test_a_webhook_is_posted_signed_and_done_with(
    sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver
) -> None:
    [event_id] = outboxed(sessions, receiver.url, at=clock())
    report = steps.notify(kit)
    assert report.facts == {"delivered": 1, "failed": 0}
    assert report.wakes == ()
    [event] = receiver.events
    assert event["id"] == event_id
    assert event["data"]["metadata"] == {"title": "Zwölf Uhr ☂"}
    [row] = rows(sessions)
    assert (row.delivered_at, row.due_at, row.claim, row.attempts) == (clock(), None, None, 1)
    assert steps.notify(kit).facts == {"delivered": 0, "failed": 0}
    assert receiver.came == 1


def test_a_callback_is_sent_as_a_task_with_the_event(
    sessions: Sessions, clock: Clock, kit: Kit, calls: Calls
) -> None:
    [event_id] = outboxed(sessions, None, at=clock())
    steps.notify(kit)
    [(task, queue, event)] = calls.sent
    assert (task, queue, event["id"]) == ("cms.done", "cms", event_id)


@pytest.mark.parametrize("accepted", [SECRET, OTHER_SECRET])
def test_while_a_secret_is_replaced_either_is_good(
    sessions: Sessions, tmp_path: Path, clock: Clock, receiver: Receiver, accepted: str
) -> None:
    receiver.secret = accepted
    outboxed(sessions, receiver.url, at=clock())
    kit = kit_of(sessions, tmp_path, clock, Calls(), webhook_secret=f"{OTHER_SECRET}, {SECRET}")
    assert steps.notify(kit).facts["delivered"] == 1


@pytest.mark.parametrize("status", [200, 201, 299])
def test_any_2xx_is_a_success(
    sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver, status: int
) -> None:
    receiver.status = status
    outboxed(sessions, receiver.url, at=clock())
    assert steps.notify(kit).facts["delivered"] == 1


@pytest.mark.parametrize("status", [302, 304, 400, 401, 404, 429, 500, 503])
def test_anything_else_is_tried_again(
    sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver, status: int
) -> None:
    receiver.status = status
    receiver.headers["Location"] = receiver.url
    outboxed(sessions, receiver.url, at=clock())
    assert steps.notify(kit).facts["failed"] == 1
    assert receiver.came == 1, "a redirect is not followed"
    [row] = rows(sessions)
    assert f"HTTP {status}" in str(row.last_error)
    assert row.due_at is not None
    receiver.status = 204
    clock.move(seconds=10)
    steps.notify(kit)
    assert len(receiver.events) == 1


def test_gone_ends_it(sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver) -> None:
    receiver.status = 410
    outboxed(sessions, receiver.url, at=clock())
    steps.notify(kit)
    [row] = rows(sessions)
    assert (row.due_at, row.dead_at, row.attempts) == (None, clock(), 1)


def test_the_schedule_is_kept_and_then_it_is_a_dead_letter(
    sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver
) -> None:
    receiver.status = 500
    outboxed(sessions, receiver.url, at=clock())
    for wait in pace.WEBHOOK_AGAIN:
        steps.notify(kit)
        [row] = rows(sessions)
        assert row.due_at is not None
        assert wait <= row.due_at - clock() <= wait * 1.1
        clock.time = row.due_at - timedelta(seconds=1)
        assert steps.notify(kit).facts["failed"] == 0, "not a moment earlier"
        clock.move(seconds=1)
    steps.notify(kit)
    [row] = rows(sessions)
    assert (row.due_at, row.dead_at, row.attempts) == (None, clock(), 8)
    assert receiver.came == 8


def test_who_asks_for_time_is_given_it(
    sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver
) -> None:
    receiver.status = 503
    receiver.headers["Retry-After"] = "120"
    outboxed(sessions, receiver.url, at=clock())
    steps.notify(kit)
    [row] = rows(sessions)
    assert row.due_at == clock() + timedelta(seconds=120)


HANGS = [
    Say(hold=True),
    Say(b"HTTP/1.1 200", hold=True),
    Say(b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n", hold=True),
    Say(b"HTTP/1.1 200 OK\r\n", drip_seconds=0.1),
    Say(reset=True),
    Say(b"this is no HTTP\r\n\r\n"),
    http("500 No", b"<html>" + b"x" * 5000),
]


@pytest.mark.parametrize("answer", HANGS, ids=range(len(HANGS)))
def test_a_receiver_that_hangs_or_makes_no_sense_costs_no_more_than_its_time(
    sessions: Sessions,
    tmp_path: Path,
    clock: Clock,
    calls: Calls,
    receiver: Receiver,
    answer: Say,
) -> None:
    kit = kit_of(sessions, tmp_path, clock, calls, webhook_timeout_seconds=3)
    with raw_server(answer) as server:
        outboxed(sessions, server.url, at=clock())
        outboxed(sessions, receiver.url, at=clock())
        assert steps.notify(kit).facts == {"delivered": 1, "failed": 1}
    assert len(receiver.events) == 1


def test_one_whose_time_is_over_is_said_to_be_slow(
    sessions: Sessions, tmp_path: Path, clock: Clock, calls: Calls
) -> None:
    kit = kit_of(sessions, tmp_path, clock, calls, webhook_timeout_seconds=0.5)
    with raw_server(Say(b"HTTP/1.1 200 OK\r\n", drip_seconds=0.1)) as server:
        outboxed(sessions, server.url, at=clock())
        steps.notify(kit)
    [row] = rows(sessions)
    assert row.last_error == "no answer within 0.5 s (WEBHOOK_TIMEOUT_SECONDS)"


def test_a_success_whose_body_never_comes_is_one(
    sessions: Sessions, clock: Clock, kit: Kit
) -> None:
    half = Say(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nhalf", hold=True)
    with raw_server(half) as server:
        outboxed(sessions, server.url, at=clock())
        assert steps.notify(kit).facts["delivered"] == 1


def test_a_receiver_that_is_away_is_left_alone_and_another_is_not(
    sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver
) -> None:
    for _ in range(30):
        outboxed(sessions, "http://127.0.0.1:1/closed", at=clock())
    for _ in range(20):
        outboxed(sessions, receiver.url, at=clock())
    report = steps.notify(kit)
    assert report.facts == {"delivered": 20, "failed": 1}
    [wake] = report.wakes
    assert wake.at is not None
    assert wake.at - clock() >= timedelta(seconds=5), "nobody is woken for it meanwhile"
    assert steps.notify(kit).facts["failed"] == 0
    clock.move(seconds=10)
    assert steps.notify(kit).facts["failed"] == 1


def test_one_that_fails_at_a_receiver_that_is_well_holds_up_no_other(
    sessions: Sessions, clock: Clock, kit: Kit
) -> None:
    with raw_server(http("500 No"), http("204 Well")) as server:
        for _ in range(20):
            outboxed(sessions, server.url, at=clock())
        assert steps.notify(kit).facts == {"delivered": 19, "failed": 1}


def test_what_hangs_is_waited_for_by_no_message_and_by_no_other_receiver(
    sessions: Sessions, tmp_path: Path, clock: Clock, calls: Calls, receiver: Receiver
) -> None:
    kit = kit_of(sessions, tmp_path, clock, calls, webhook_timeout_seconds=60)
    kit = replace(kit, courier=Courier(lingers_seconds=0.5))
    with ExitStack() as stack:
        hanging = [stack.enter_context(raw_server(Say(hold=True))) for _ in range(4)]
        for server in hanging:
            for _ in range(10):
                outboxed(sessions, server.url, at=clock() - timedelta(hours=1))
        for _ in range(20):
            outboxed(sessions, receiver.url, at=clock())
        wait_until(
            lambda: steps.notify(kit) and len(receiver.events) == 20,
            what="the events of the receiver that is well",
        )
        assert [server.connections for server in hanging] == [1] * 4, "those go one at a time"
        kit.courier.leave(kit.webhooks.cut, seconds=30)
        assert [row for row in rows(sessions) if row.claim] == []


def test_one_that_alone_is_refused_holds_up_no_other(
    sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver
) -> None:
    receiver.status = 422
    for _ in range(12):
        outboxed(sessions, receiver.url, at=clock())
    assert steps.notify(kit).facts["failed"] == 12


def test_what_a_request_is_told_comes_in_order(
    sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver
) -> None:
    ids = outboxed(sessions, receiver.url, at=clock(), count=3)
    receiver.status = 500
    report = steps.notify(kit)
    assert receiver.came == 1, "the others wait for the first"
    assert [wake.step for wake in report.wakes] == [Step.NOTIFY]
    assert all(wake.at is not None for wake in report.wakes), "and nobody is woken for them"
    receiver.status = 200
    clock.move(seconds=10)
    steps.notify(kit)
    assert [event["id"] for event in receiver.events] == ids


def test_after_a_dead_letter_the_next_goes(
    sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver
) -> None:
    _, second = outboxed(sessions, receiver.url, at=clock(), count=2)
    dead, _ = rows(sessions)
    with sessions.begin() as session:
        given_up = session.get_one(Notification, dead.id)
        given_up.due_at, given_up.dead_at = None, clock()
    steps.notify(kit)
    assert [event["id"] for event in receiver.events] == [second]


def test_a_broker_that_is_away_is_waited_for(
    sessions: Sessions, clock: Clock, kit: Kit, calls: Calls
) -> None:
    calls.is_away = True
    outboxed(sessions, None, at=clock())
    for _ in range(30):
        steps.notify(kit)
        [row] = rows(sessions)
        assert row.due_at is not None
        assert row.due_at - clock() <= timedelta(minutes=5)
        clock.time = row.due_at
    calls.is_away = False
    steps.notify(kit)
    assert len(calls.sent) == 1


def test_what_a_killed_notifier_held_is_delivered_by_another(
    sessions: Sessions, clock: Clock, kit: Kit, receiver: Receiver
) -> None:
    outboxed(sessions, receiver.url, at=clock())
    with sessions.begin() as session:
        until = clock() + timedelta(seconds=60)
        [receivers] = deliveries.receivers(session, now=clock())
        taken = deliveries.take(session, receivers, now=clock(), until=until, limit=9)
    assert len(taken) == 1
    report = steps.notify(kit)
    assert report.facts == {"delivered": 0, "failed": 0}
    assert [wake.at for wake in report.wakes] == [until]
    clock.move(seconds=60)
    assert steps.notify(kit).facts["delivered"] == 1


def test_an_outcome_after_the_claim_was_lost_is_dropped(
    sessions: Sessions, clock: Clock, kit: Kit, calls: Calls
) -> None:
    """It stood still for so long that another delivered it; its own failure changes nothing."""
    outboxed(sessions, None, at=clock())

    def slow(_task: str, _queue: str, _event: Mapping[str, Any]) -> None:
        clock.move(hours=1)
        another = replace(kit, courier=Courier(lingers_seconds=30))
        assert steps.notify(another).facts["delivered"] == 1
        raise Undelivered("too late", is_of_receiver=True)

    steps.notify(replace(kit, call=slow))
    [row] = rows(sessions)
    assert row.delivered_at is not None
    assert row.last_error is None
    assert len(calls.sent) == 1


def test_a_worker_that_stops_gives_back_what_is_under_way(
    sessions: Sessions, clock: Clock, kit: Kit, calls: Calls
) -> None:
    outboxed(sessions, None, at=clock())

    def told_to_stop(_task: str, _queue: str, _event: Mapping[str, Any]) -> None:
        raise Stopping

    stopping = chain((False,), repeat(object=True))
    steps.notify(replace(kit, call=told_to_stop, stopping=lambda: next(stopping)))
    [row] = rows(sessions)
    assert (row.claim, row.attempts, row.due_at) == (None, 0, clock())
    steps.notify(kit)
    assert len(calls.sent) == 1


def test_what_is_under_way_is_given_back_by_a_process_that_ends(
    sessions: Sessions, tmp_path: Path, clock: Clock, calls: Calls
) -> None:
    stopping = Event()
    kit = kit_of(sessions, tmp_path, clock, calls, webhook_timeout_seconds=60)
    webhooks = Webhooks(
        ("127.0.0.1",), (SECRET,), timeout_seconds=60, now=kit.now, stopping=stopping.is_set
    )
    kit = replace(kit, webhooks=webhooks, courier=Courier(lingers_seconds=0.1))
    with raw_server(Say(hold=True)) as server:
        outboxed(sessions, server.url, at=clock())
        steps.notify(kit)
        wait_until(lambda: server.requests, what="the webhook")
        stopping.set()
        kit.courier.leave(webhooks.cut, seconds=30)
    [row] = rows(sessions)
    assert (row.claim, row.attempts, row.due_at) == (None, 0, clock())


def test_a_worker_that_stops_takes_nothing_more(
    sessions: Sessions, clock: Clock, kit: Kit, calls: Calls
) -> None:
    outboxed(sessions, None, at=clock())
    steps.notify(replace(kit, stopping=lambda: True))
    assert calls.sent == []


@pytest.mark.parametrize(
    ("hosts", "url", "says"),
    [
        ("", "http://127.0.0.1:{port}/", "WEBHOOK_HOSTS"),
        ("cms.example", "http://127.0.0.1:{port}/", "WEBHOOK_HOSTS"),
        ("localhost", "http://localhost:{port}/", "WEBHOOK_HOSTS"),  # that is not public
        ("localhost", "http://localhost:{port}\\@cms.example/", "WEBHOOK_HOSTS"),
        ("127.0.0.1", "http://user:pass@127.0.0.1:{port}/", "URL"),
    ],
)
def test_only_hosts_that_are_listed_are_sent_to(
    sessions: Sessions, tmp_path: Path, clock: Clock, calls: Calls, hosts: str, url: str, says: str
) -> None:
    kit = kit_of(sessions, tmp_path, clock, calls, webhook_hosts=hosts)
    with raw_server(http()) as server:
        outboxed(sessions, url.format(port=server.port), at=clock())
        assert steps.notify(kit).facts["failed"] == 1
        assert server.requests == []
    [row] = rows(sessions)
    assert says in str(row.last_error)
    assert (row.dead_at is None) == (says == "WEBHOOK_HOSTS"), "that setting is ours to mend"


def test_nothing_is_sent_without_a_signature(
    sessions: Sessions, tmp_path: Path, clock: Clock, calls: Calls, receiver: Receiver
) -> None:
    kit = kit_of(sessions, tmp_path, clock, calls, webhook_secret="")
    outboxed(sessions, receiver.url, at=clock())
    steps.notify(kit)
    assert receiver.came == 0
    assert "WEBHOOK_SECRET" in str(rows(sessions)[0].last_error)
