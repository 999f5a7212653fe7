"""Callbacks: what is sent is a task as any Celery worker of a CMS's takes it, on its own broker."""

import base64
import json
from typing import Any

import pytest
import redis

from tests.services import free_port
from worker.callbacks import caller
from worker.errors import Undelivered

EVENT: dict[str, Any] = {
    "id": "9d4c2b9e-6c55-4c39-a7c4-3f7e3b9d5c11",
    "type": "export.stored",
    "data": {"request_id": "r1", "metadata": {"title": "Zwölf Uhr ☂", "password": "hunter2"}},
}


def test_the_task_comes_to_its_queue_with_the_event_and_its_id(broker_url: str) -> None:
    call = caller(broker_url)
    call("cms.export_finished", "cms", EVENT)
    with redis.Redis.from_url(broker_url) as client:
        assert client.llen("cms") == 1
        message = json.loads(client.lpop("cms") or b"")
    arguments, named, _ = json.loads(base64.b64decode(message["body"]))
    assert (arguments, named) == ([], {"event": EVENT})
    headers = message["headers"]
    assert (headers["task"], headers["id"]) == ("cms.export_finished", EVENT["id"])
    assert "hunter2" not in headers["kwargsrepr"], "what Flower shows of it"


def test_where_the_broker_is_away_that_is_the_receivers_and_not_the_events() -> None:
    with pytest.raises(Undelivered, match="can't be reached") as caught:
        caller(f"redis://127.0.0.1:{free_port()}/0")("cms.export_finished", "cms", EVENT)
    assert caught.value.is_of_receiver
    assert not caught.value.is_final
