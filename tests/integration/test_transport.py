"""The transport: what Redis hands over is noted by then, and nobody waits who need not."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.transport import redis as kombus

from tests.junk import NO_MESSAGES
from tests.waiting import wait_until
from worker import transport

UNACKNOWLEDGED = {"unacked_key": "test.unacked", "unacked_index_key": "test.unacked_index"}
OURS = {"bell_key": "test.bell", "unreadable_key": "test.unreadable"}
# So long that a test which waits for it fails.
NEVER = 30.0
# Gives out at once what is in anybody's hands.
IMPATIENT = {"visibility_timeout": 0, "unacked_restore_throttle": 1}

Connect = Callable[..., Any]  # kombu has no types


@pytest.fixture
def connect(broker_url: str) -> Iterator[Connect]:
    """Give connections to the broker by our transport, or another; all are closed at the end."""
    opened = []
    kombus_connection: Any = Connection

    def connect(by: Any = transport.Transport, **options: Any) -> Any:
        connection = kombus_connection(
            broker_url, transport=by, transport_options={**UNACKNOWLEDGED, **OURS, **options}
        )
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def server(broker_url: str) -> Iterator[redis.Redis]:
    """Give what the broker itself says."""
    with redis.Redis.from_url(broker_url) as client:
        yield client


def queue(name: str) -> Any:
    """Return the queue of that name, as Celery declares it."""
    queue: Any = Queue
    exchange: Any = Exchange
    return queue(name, exchange(name, type="direct"), name)


def send(connection: Any, queue: str, *said: str, priority: int = 0) -> None:
    """Send these, one by one."""
    with connection.Producer(serializer="json") as producer:
        for each in said:
            producer.publish(each, routing_key=queue, priority=priority)


def listen(connection: Any, *queues: str, no_ack: bool = False) -> list[Any]:
    """Consume from these queues; returns the list of messages that have come."""
    came: list[Any] = []
    consumer = connection.Consumer(
        [queue(name) for name in queues],
        on_message=came.append,
        no_ack=no_ack,
    )
    consumer.consume()
    return came


def said(messages: list[Any]) -> list[str]:
    """Return what was said, in the order in which it came."""
    return [message.payload for message in messages]


def drain(connection: Any, came: list[Any], count: int = 1) -> list[str]:
    """Wait until so many have come; returns what they say."""

    def look() -> bool:
        if len(came) < count:
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.1)
        return len(came) >= count

    wait_until(look, seconds=15, what=f"{count} messages", every=0)
    return said(came)


def idle(connection: Any) -> None:
    """Look until nothing is left, and wait for what comes next without listening to the answer."""
    with suppress(TimeoutError):
        while True:
            connection.drain_events(timeout=0.3)
    connection.transport.cycle.on_poll_start()


def held(server: redis.Redis) -> int:
    """Return how many messages are in somebody's hands."""
    both = server.pipeline()
    both.hlen(UNACKNOWLEDGED["unacked_key"])
    both.zcard(UNACKNOWLEDGED["unacked_index_key"])
    noted, indexed = both.execute()
    assert noted == indexed
    return int(noted)


@pytest.mark.parametrize("by", [transport.Transport, kombus.Transport])
@pytest.mark.parametrize("is_idle", [True, False])
def test_what_was_handed_over_to_one_that_died_comes_again(
    connect: Connect, server: redis.Redis, *, by: Any, is_idle: bool
) -> None:
    dying = connect()
    listen(dying, "a", "b")
    if is_idle:
        idle(dying)
        send(connect(), "b", "hello")
    else:
        send(connect(), "b", "hello")
        dying.transport.cycle.on_poll_start()
    wait_until(lambda: not server.llen("b"), what="the message leaving its queue")
    assert held(server) == 1
    other = connect(by, **IMPATIENT)
    came = listen(other, "a", "b")
    assert drain(other, came) == ["hello"]
    assert came[0].headers["redelivered"]
    came[0].ack()
    assert held(server) == 0


def test_who_waits_is_rung(connect: Connect) -> None:
    waiting = connect(look_seconds=NEVER)
    came = listen(waiting, "a", "b")
    for each in ("one", "two"):
        idle(waiting)
        send(connect(), "b", each)
        drain(waiting, came, len(came) + 1)
    assert said(came) == ["one", "two"]


def test_what_rings_no_bell_is_found(connect: Connect) -> None:
    waiting = connect()
    came = listen(waiting, "a")
    idle(waiting)
    send(connect(kombus.Transport), "a", "hello")
    assert drain(waiting, came) == ["hello"]


def test_a_bell_that_nobody_hears_is_silent_again(connect: Connect, server: redis.Redis) -> None:
    send(connect(), "a", "one", "two")
    assert server.llen("a") == 2
    assert (server.llen("test.bell.a"), server.pttl("test.bell.a") > 0) == (1, True)
    wait_until(lambda: not server.exists("test.bell.a"), what="silence")


def test_who_has_no_bell_sends_and_takes_as_kombu_does(
    connect: Connect, server: redis.Redis
) -> None:
    other, sender = connect(bell_key=""), connect(bell_key="", look_seconds=NEVER)
    came = listen(other, "a")
    idle(other)
    send(sender, "a", "hello")
    assert drain(other, came) == ["hello"]
    assert server.keys("*bell*") == []
    came[0].ack()
    assert held(server) == 0


def test_queues_take_turns_and_the_most_urgent_comes_first(connect: Connect) -> None:
    sender = connect()
    send(sender, "a", "can wait", priority=9)
    send(sender, "a", "a1", "a2", "a3")
    send(sender, "b", "b1", "b2")
    receiver = connect()
    came = listen(receiver, "a", "b")
    assert drain(receiver, came, 6) == ["a1", "b1", "a2", "b2", "a3", "can wait"]


def test_what_is_acknowledged_or_given_back_is_in_nobodys_hands(
    connect: Connect, server: redis.Redis
) -> None:
    receiver = connect()
    came = listen(receiver, "a")
    send(connect(), "a", "one", "two")
    drain(receiver, came, 2)
    assert held(server) == 2
    came[0].ack()
    came[1].reject(requeue=True)
    assert held(server) == 0
    assert drain(receiver, came, 3)[2] == "two"


def test_who_does_not_acknowledge_holds_nothing(connect: Connect, server: redis.Redis) -> None:
    receiver = connect()
    came = listen(receiver, "a", no_ack=True)
    idle(receiver)
    send(connect(), "a", "hello")
    assert drain(receiver, came) == ["hello"]
    assert held(server) == 0


def test_what_comes_for_a_consumer_that_has_left_goes_back(
    connect: Connect, server: redis.Redis
) -> None:
    leaving = connect(look_seconds=NEVER)
    consumer = leaving.Consumer([queue("a")])
    consumer.consume()
    idle(leaving)
    consumer.cancel()
    send(connect(), "a", "hello")
    wait_until(lambda: held(server) == 1, what="the message taken")
    leaving.drain_events(timeout=5)
    assert (held(server), server.llen("a")) == (0, 1)


@pytest.mark.parametrize("junk", NO_MESSAGES)
def test_what_is_no_message_is_put_aside(
    connect: Connect, server: redis.Redis, junk: bytes
) -> None:
    server.lpush("a", junk)
    receiver = connect()
    came = listen(receiver, "a")
    send(connect(), "a", "hello")
    assert drain(receiver, came) == ["hello"]
    assert held(server) == 1
    assert server.lrange("test.unreadable", 0, -1) == [b"[" + junk + b', "", "a"]']
    assert server.ttl("test.unreadable") > 0


@pytest.mark.parametrize("junk", NO_MESSAGES)
def test_what_is_no_message_is_put_aside_though_its_taker_was_killed(
    connect: Connect, server: redis.Redis, junk: bytes
) -> None:
    dying = connect()
    listen(dying, "a")
    server.lpush("a", junk)
    dying.transport.cycle.on_poll_start()
    wait_until(lambda: held(server) == 1, what="the junk taken")
    other = connect(**IMPATIENT)
    listen(other, "a")

    def is_put_aside() -> bool:
        with suppress(TimeoutError):
            other.drain_events(timeout=0.1)
        return bool(server.llen("test.unreadable"))

    wait_until(is_put_aside, what="the junk aside", every=0)
    assert (held(server), server.llen("a")) == (0, 0)


@pytest.mark.parametrize("key", ["a", "test.bell.a"])
def test_an_answer_that_is_an_error_leaves_none_for_the_next(
    connect: Connect, server: redis.Redis, key: str
) -> None:
    receiver = connect()
    came = listen(receiver, "a")
    idle(receiver)
    server.set(key, "no list")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        drain(receiver, came)
    server.delete(key)
    send(connect(), "a", "one", "two")
    assert drain(receiver, came, 2) == ["one", "two"]
