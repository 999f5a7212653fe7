"""The transport over Redis: kombu's, but who is killed or loses the broker loses no message by it.

kombu 5.7 takes a message off its queue (BRPOP), and notes it among the unacknowledged ones a moment
later. What Redis hands over as a worker is killed, or cut off, is gone: it is in no queue any more,
and not noted yet. Here one script does both, for who acknowledges. As a script can't wait, who
finds nothing waits at a bell, a list beside the queue that is rung for each message sent through
here, and looks again when it rings or LOOK_SECONDS have passed. So what rings no bell is found as
well: what a CMS sends by plain Celery, and what is given out again. Workers with kombu's own
transport can be beside ours: queues and notes are as its.

All this is for channels with the option `bell_key`: whoever else sends or takes messages in the
same process, as to the broker of a CMS, does so as kombu does.

kombu also acts for a message that was not acknowledged over the connection that brought it. Where
that is gone, both giving it back (as the worker connects anew) and acknowledging it (as its task
ends) find no connection to do it on, and the AttributeError ends the worker. Neither has to be
done: Redis gives such a message out again when its visibility timeout is over, a broker that came
back empty knows of none, and each step is done once however often its message comes.
"""

from collections.abc import Sequence
from queue import Empty
from time import monotonic, time
from typing import Any, Final

from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from kombu.utils.uuid import uuid

from worker import logs, scripts

# How long a message may lie in its queue beside an idle worker if no bell was rung for it.
LOOK_SECONDS: Final = 0.2
# How many of the last are kept of what was in a queue and is no message, and for how long.
KEPT: Final = 100
KEPT_SECONDS: Final = 7 * 24 * 3600

# What it may raise to read what somebody put into a queue: kombu's JSON makes values of many types.
_NO_MESSAGE: Final = (
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip

_log = logs.get_logger(__name__)


class QoS(redis.QoS):
    """What a channel has in its hands; Redis knows already of what its script took."""

    def append(self, message: Any, delivery_tag: str) -> None:  # noqa: ANN401  (kombu's)
        """Note the message as unacknowledged."""
        if delivery_tag == self.channel.tag:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge the message; by one command, where kombu has a transaction."""
        with self.channel.conn_or_acquire() as client:
            client.eval(scripts.FORGET, 2, self.unacked_key, self.unacked_index_key, delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: ANN401, FBT002
        """Give the message out again; what is none is put aside, since nobody can give it out."""
        with self.channel.conn_or_acquire(client) as connected:
            note = connected.hget(self.unacked_key, tag)
        try:
            if note is not None:
                _checked(loads(bytes_to_str(note))[0])
        except _NO_MESSAGE as error:
            self.channel.put_aside(tag, error)
        else:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)


class Channel(redis.Channel):
    """A channel whose messages are in a queue or noted, and that leaves those of a lost connection.

    Those are left to the visibility timeout. It keeps the client that it publishes by: kombu makes
    one for each message, from the pool that they all share.

    Attributes:
        tag: by which the message is noted that was asked for last; None where kombu asked.
        bell_key: what the keys of bells begin with, before their queue's name; without it messages
            are sent and taken as kombu does. It can't go with kombu's options `global_keyprefix`
            and `ack_emulation`.
        look_seconds: how long it waits at most before it looks into its queues again.
        unreadable_key: the list of what was in a queue and is no message of Celery's.
    """

    QoS = QoS
    do_restore = False
    tag: str | None = None
    bell_key = ""
    look_seconds = LOOK_SECONDS
    unreadable_key = "unreadable"
    from_transport_options: Any = (
        *redis.Channel.from_transport_options,
        *("bell_key", "look_seconds", "unreadable_key"),
    )

    _in_poll: Any
    _brpop_sent_at: float | None  # type: ignore[assignment]
    _publisher: Any = None
    # where there was one message there may be more: those are asked for without a wait
    _may_be_more = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (kombu's)
        self._unnoted: set[str] = set()  # the queues that are consumed without acknowledgement
        super().__init__(*args, **kwargs)

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401, FBT002  (kombu's)
        """Return the client of the channel's pool."""
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._publisher is None or self._publisher.connection_pool is not self.pool:
            self._publisher = super()._create_client()
        return self._publisher

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:  # noqa: ANN401  (kombu's)
        """Send the message, and ring; without that where messages are sent in batches or expire."""
        if not self.bell_key or kwargs.get("_publish_batch") or self._expires.get(queue):
            super()._put(queue, message, **kwargs)
            return
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        with self.conn_or_acquire() as client:
            for_ms = max(round(self.look_seconds * 1000), 1)
            client.eval(scripts.SEND, 2, key, self._bell(queue), dumps(message), for_ms)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Consume from `queue`; what comes without acknowledgement is taken as kombu does it."""
        if no_ack:
            self._unnoted.add(queue)
        else:
            self._unnoted.discard(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask for the next message."""
        if not self.bell_key or not self._unnoted.isdisjoint(self.active_queues):
            self.tag = None
            super()._brpop_start(timeout)
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        self.tag = uuid()
        commands = [self._take(queues)]
        if not self._may_be_more:
            commands.insert(0, ("BRPOP", *map(self._bell, queues), self.look_seconds))
        connection = self.client.connection
        self._in_poll = connection
        self._brpop_sent_at = monotonic()
        connection.send_packed_command(connection.pack_commands(commands))

    def _take(self, queues: Sequence[str]) -> tuple[Any, ...]:
        """Return the command that takes a message off one of these, the first of them first."""
        lists = [self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        # the default exchange delivers to the queue that is named
        rest = [f', "", {dumps(queue)}]' for queue in queues]
        keys = (self.unacked_key, self.unacked_index_key, *lists)
        return ("EVAL", scripts.TAKE, len(keys), *keys, self.tag, time(), *rest)

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401  (kombu's)
        """Deliver the message that was asked for.

        Raises:
            Empty: there was none.
        """
        if self.tag is None:
            return super()._brpop_read(**options)
        try:
            answer = self._answer()
            self._may_be_more = bool(answer)
            if not answer:
                raise Empty
            key, raw = answer
            queue = bytes_to_str(key).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            message = self._understood(raw, self.tag)
            if message is not None:
                self.connection._deliver(message, queue)  # noqa: SLF001  (kombu's)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _answer(self) -> Any:  # noqa: ANN401  (the list and the message, or nothing)
        client = self.client
        try:
            if not self._may_be_more:
                client.parse_response(client.connection, "BRPOP")
            return client.parse_response(client.connection, "EVAL")
        except Exception:
            # whatever else was to come is not read from this connection: kombu makes another
            client.connection.disconnect()
            raise

    def _understood(self, raw: bytes, tag: str) -> dict[str, Any] | None:
        """Return the message under the tag it is noted by; what is none is put aside."""
        try:
            sent = _checked(loads(bytes_to_str(raw)))
            sent["properties"]["delivery_tag"] = tag
            self.Message(sent, channel=self)
        except _NO_MESSAGE as error:
            self.put_aside(tag, error)
            return None
        return sent

    def put_aside(self, tag: str | bytes, error: Exception) -> None:
        """Have what was noted by that tag come no more, since it is no message; it is kept."""
        _log.error("message not understood", message=type(error).__name__)
        keys = (self.unacked_key, self.unacked_index_key, self.unreadable_key)
        with self.conn_or_acquire() as client:
            client.eval(scripts.PUT_ASIDE, len(keys), *keys, tag, KEPT, KEPT_SECONDS)

    def _bell(self, queue: str) -> str:
        return f"{self.bell_key}.{queue}"

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: FBT002
        """Acknowledge the message, if the connection that brought it is there."""
        if not self.closed:
            super().basic_ack(delivery_tag, multiple=multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT002
        """Reject the message, if the connection that brought it is there."""
        if not self.closed:
            super().basic_reject(delivery_tag, requeue=requeue)


def _checked(sent: dict[str, Any]) -> dict[str, Any]:
    """Return what was sent; raises one of _NO_MESSAGE if it lacks what all messages have."""
    if not isinstance(sent["body"], str):
        raise TypeError("it has no body")
    if not isinstance(sent["properties"]["delivery_info"], dict):
        raise TypeError("it does not say where it goes")
    return sent


class Transport(redis.Transport):
    """The transport with such channels."""

    Channel: Any = Channel


def install() -> None:
    """Make it the transport of redis:// and rediss:// URLs in this process, before it has met one.

    The setting `broker_transport` would do so for one app, but then kombu names the broker's URL by
    the class, which Flower can't read.
    """
    name = f"{Transport.__module__}:{Transport.__qualname__}"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)
