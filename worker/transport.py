"""The transport over Redis: kombu's, but a broker that goes away ends no worker.

kombu 5.7 acts for a message that was not acknowledged over the connection that brought it. Where
that is gone, both giving it back (as the worker connects anew) and acknowledging it (as its task
ends) find no connection to do it on, and the AttributeError ends the worker. Neither has to be
done: Redis gives such a message out again when its visibility timeout is over, a broker that came
back empty knows of none, and each step is done once however often its message comes.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis


class Channel(redis.Channel):
    """A channel that leaves the messages of a lost connection to the visibility timeout.

    It keeps the client that it publishes by: kombu makes one for each message, from the pool that
    they all share.
    """

    do_restore = False
    _publisher: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401, FBT002  (kombu's)
        """Return the client of the channel's pool."""
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._publisher is None or self._publisher.connection_pool is not self.pool:
            self._publisher = super()._create_client()
        return self._publisher

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: FBT002
        """Acknowledge the message, if the connection that brought it is there."""
        if not self.closed:
            super().basic_ack(delivery_tag, multiple=multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT002
        """Reject the message, if the connection that brought it is there."""
        if not self.closed:
            super().basic_reject(delivery_tag, requeue=requeue)


class Transport(redis.Transport):
    """The transport with such channels."""

    Channel: Any = Channel


def install() -> None:
    """Make it the transport of redis:// and rediss:// URLs in this process.

    The setting `broker_transport` would do so for one app, but then kombu names the broker's URL by
    the class, which Flower can't read.
    """
    name = f"{Transport.__module__}:{Transport.__qualname__}"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)
