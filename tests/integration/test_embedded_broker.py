import pytest
import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker import embedded, transport


def test_a_connection_outlives_an_error_that_was_its_answer() -> None:
    with (
        embedded.broker() as url,
        redis.Redis.from_url(
            url, single_connection_client=True, retry=Retry(NoBackoff(), 0)
        ) as client,
    ):
        client.set("text", "x")
        for _ in range(3):
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                client.lpush("text", "y")
            assert client.get("text") == b"x"
            assert client.eval("return 7", 0) == 7


def test_a_channel_publishes_by_one_client_until_its_connections_are_gone() -> None:
    transport.install()
    with (
        embedded.broker() as url,
        Celery(broker=url, set_as_current=False) as app,
        app.connection_for_write() as connection,
    ):
        channel = connection.default_channel
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
        channel._disconnect_pools()  # noqa: SLF001  (what kombu does where a connection is gone)
        with channel.conn_or_acquire() as third:
            assert third is not first
            assert third.connection_pool is channel.pool
            assert third.ping()
