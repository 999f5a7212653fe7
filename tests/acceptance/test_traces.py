"""Traces: one from the CMS that asks to the CMS that is told; none where nobody asks for any."""

import json
from typing import Any
from uuid import uuid4

import redis
from celery import Celery

from models import Request
from tests.acceptance.stage import Stage
from tests.factories import ASSET
from tests.otlp import collecting
from tests.receiver import SECRET, receiving
from tests.waiting import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT = f"00-{TRACE}-b7ad6b7169203331-01"
TOKEN = "hunter2-of-the-webhook"


def send(stage: Stage, **arguments: Any) -> str:
    """Send a request as a CMS does that traces; returns its id."""
    request_id = str(uuid4())
    with Celery(broker=stage.broker_url, set_as_current=False) as app:
        app.send_task(
            "exports.create",
            task_id=request_id,
            queue="exports",
            kwargs={"asset": ASSET, "aaclc": True, **arguments},
            headers={"traceparent": SENT},
        )
    return request_id


def told(stage: Stage, queue: str) -> str:
    """Return the `traceparent` of the callback that the CMS finds in its queue."""
    with redis.Redis.from_url(stage.broker_url) as client:
        said = wait_until(lambda: client.lindex(queue, 0), what="the callback")
    return str(json.loads(said)["headers"]["traceparent"])


def test_one_trace_leads_from_who_asks_to_who_is_told(stage: Stage, pool: str) -> None:
    stage.emulator.control.fault("media", "status", status=500, times=1)
    with collecting() as collector, receiving() as receiver:
        stage.settings |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "WEBHOOK_HOSTS": "127.0.0.1,127.0.0.0/8",
            "WEBHOOK_SECRET": SECRET,
        }
        stage.start(pool)
        request_id = send(
            stage,
            callback={"task": "cms.told", "queue": "cms"},
            webhook_url=f"{receiver.url}&token={TOKEN}",
        )
        export = stage.stored(request_id)
        callback = told(stage, "cms")
        steps = {"submit", "at uplynk", "download", "notify"}
        names = {"run/exports.create", *steps, "POST", "GET", "apply_async/cms.told"}
        wait_until(lambda: names <= {span.name for span in collector.spans}, what="all spans")
        wait_until(lambda: len(collector.named("notify")) == 2, what="both ways")
        for worker in stage.workers:
            worker.stop()
        spans = {span.span_id.hex(): span for span in collector.spans}
        assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
        assert {span.name for span in spans.values()} == names
        (created,) = collector.named("run/exports.create")
        assert created.parent_span_id.hex() == SENT.split("-")[2]
        for name in steps:
            for span in collector.named(name):
                assert span.parent_span_id == created.span_id
                assert span.start_time_unix_nano <= span.end_time_unix_nano
        for span in collector.named("POST") + collector.named("GET"):
            assert span.parent_span_id.hex() in spans
        failed, stored = collector.named("download")
        assert (failed.status.code, failed.status.message) == (2, "file_unavailable")
        assert stored.status.code == 0
        assert callback.split("-")[1] == TRACE
        (sent,) = collector.named("apply_async/cms.told")
        assert callback.split("-")[2] == sent.span_id.hex()
        assert spans[sent.parent_span_id.hex()].name == "notify"
        assert receiver.traceparents[0].split("-")[1] == TRACE
        shown = b"".join(collector.raw).decode("utf-8", "replace")
        assert str(export.id) in shown
        assert "/api2/cloudslicer/jobs/create_export" in shown
        assert str(export.url).partition("//")[2].partition("/")[2] not in shown
        assert TOKEN not in shown


def test_a_collector_that_is_away_holds_up_no_worker(stage: Stage, pool: str) -> None:
    stage.settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    worker = stage.start(pool)
    stage.stored(send(stage))
    assert worker.stop() == 0
    assert (
        "worker ended while a step was under way" not in (stage.folder / "worker.log").read_text()
    )


def test_nothing_is_traced_where_nobody_asks_for_it(stage: Stage) -> None:
    with collecting() as collector:
        stage.settings |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        stage.start("threads")
        request_id = send(stage, callback={"task": "cms.told", "queue": "cms"})
        stage.stored(request_id)
        with redis.Redis.from_url(stage.broker_url) as client:
            wait_until(lambda: client.llen("cms"), what="the callback")
        for worker in stage.workers:
            worker.stop()
    assert collector.raw == []
    with stage.sessions.begin() as session:
        assert session.get_one(Request, request_id).trace_context is None
