import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker import embedded


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
