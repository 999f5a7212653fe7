"""Messages: JSON only. What else is published to the worker's queues runs nothing."""

import os
import pickle
from pathlib import Path

import pytest
import redis
from celery import Celery

from models import State
from tests.acceptance.stage import Stage
from tests.factories import an_asset
from tests.junk import NO_MESSAGES, NO_SENSE
from tests.waiting import wait_until
from worker.steps.wish import MOST_METADATA_BYTES


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def publish(stage: Stage, body: bytes, content_type: str, encoding: str, queue: str) -> None:
    """Publish a body as it is, with the headers of a call of exports.create."""
    headers = {"lang": "py", "task": "exports.create", "id": f"request-{content_type}"}
    with Celery(broker=stage.broker_url, set_as_current=False) as app:
        connection = app.connection_for_write()
        connection.Producer().publish(
            body,
            exchange=queue,
            routing_key=queue,
            content_type=content_type,
            content_encoding=encoding,
            headers=headers,
        )


NO_CALLS = (
    b"null", b"7", b'"text"', b"[]", b"{}", b"[1]", b"[[], {}]", b"[[], {}, {}, {}]",
    b"[{}, [], {}]", b"[null, null, null]", b'[[], {}, "embed"]', b'{"args": 7}',
    b'{"args": [], "kwargs": {}}',
    b'{"id": "x", "task": "exports.create", "args": null, "kwargs": null}',
)  # fmt: skip


def test_json_that_is_no_call_ends_no_worker(stage: Stage, pool: str) -> None:
    worker = stage.start(pool)
    stage.stored(stage.send(asset=an_asset()))  # it is up, and its queues are declared
    for body in NO_CALLS:
        publish(stage, body, "application/json", "utf-8", "exports")
    stage.stored(stage.send(asset=an_asset()))
    wait_until(lambda: stage.messages() == 0, what="an empty broker")
    assert worker.process.poll() is None
    assert len(stage.exports()) == 2


def test_what_is_no_message_ends_no_worker(stage: Stage, pool: str) -> None:
    worker = stage.start(pool)
    stage.stored(stage.send(asset=an_asset()))
    with redis.Redis.from_url(stage.broker_url) as client:
        for junk in (*NO_MESSAGES, *NO_SENSE):
            client.lpush("exports", junk)
        stage.stored(stage.send(asset=an_asset()))
        wait_until(lambda: stage.messages() == 0, what="an empty broker")
        assert client.llen("uplynk-export.unreadable") == len(NO_MESSAGES)
    assert worker.process.poll() is None
    assert len(stage.exports()) == 2


@pytest.mark.parametrize("queue", ["exports", "downloads"])
def test_only_json_is_read(stage: Stage, pool: str, queue: str) -> None:
    boom = stage.folder / "boom"
    packed = pickle.dumps(((), {"asset": Bomb(boom)}, {}))
    worker = stage.start(pool)
    stage.stored(stage.send(asset=an_asset()))  # it is up, and its queues are declared
    yaml = f"!!python/object/apply:os.mkdir ['{boom}']".encode()
    publish(stage, packed, "application/x-python-serialize", "binary", queue)
    publish(stage, yaml, "application/x-yaml", "utf-8", queue)
    publish(stage, packed, "application/json", "binary", queue)
    publish(stage, b"{", "application/json", "utf-8", queue)
    publish(stage, b"[" * 100_000, "application/json", "utf-8", queue)
    publish(stage, packed, "text/plain", "binary", queue)
    stage.stored(stage.send(asset=an_asset()))
    wait_until(lambda: stage.messages() == 0, what="an empty broker")
    assert not boom.exists()
    assert worker.process.poll() is None
    assert len(stage.exports()) == 2
    pickle.loads(packed)  # noqa: S301  (our own)
    assert boom.exists(), "else nothing was tried"


def test_metadata_that_is_too_large_is_refused_and_kept_nowhere(stage: Stage) -> None:
    stage.start("threads")
    refused = stage.ended(stage.send(asset=an_asset(), metadata={"x": "y" * MOST_METADATA_BYTES}))
    assert refused.state is State.FAILED
    assert refused.error is not None
    assert f"at most {MOST_METADATA_BYTES} go" in refused.error[1]
    assert len(str(refused.metadata_)) < 100
    fits = {"x": "y" * (MOST_METADATA_BYTES - 9)}
    request = stage.ended(stage.send(asset=an_asset(), metadata=fits))
    assert request.state is State.STORED
    assert request.metadata_ == fits
