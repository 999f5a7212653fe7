"""A broker that dies: the worker lives through it, and everything goes on by itself."""

import pytest
import redis

from models import State
from tests.acceptance.stage import Stage
from tests.acceptance.test_requests_are_kept import locked
from tests.factories import an_asset
from tests.services import free_port, redis_server
from tests.waiting import wait_until

pytestmark = pytest.mark.services


def test_a_worker_lives_through_a_broker_that_dies_and_comes_back_empty(
    stage: Stage, pool: str
) -> None:
    port = free_port()
    stage.emulator.control.fault("media", "throttle", bytes_per_second=3000)
    with redis_server(port) as (stage.broker_url, server):
        worker = stage.start(pool)
        downloading = stage.send(asset=an_asset())
        stage.reaches(downloading, State.DOWNLOADING)
        waiting = an_asset()
        stage.emulator.control.asset(waiting, run_seconds=6)
        exporting = stage.send(asset=waiting)
        polls = stage.reaches(exporting, State.EXPORTING).polls
        server.kill()
        server.wait()
    with redis_server(port):
        stage.emulator.control.clear_faults()
        stage.stored(downloading)
        assert stage.stored(exporting).polls > polls
        stage.stored(stage.send(asset=an_asset()))
        assert worker.process.poll() is None


def test_a_worker_with_a_request_in_its_hands_lives_through_it_as_well(
    stage: Stage, pool: str
) -> None:
    port = free_port()
    asset = an_asset()
    with redis_server(port) as (stage.broker_url, server):
        worker = stage.start(pool)
        stage.stored(stage.send(asset=an_asset()))
        with locked(stage.database_url):
            request_id = stage.send(asset=asset)
            wait_until(lambda: stage.unacknowledged() == 1, what="a request in its hands")
            server.kill()
            server.wait()
    with redis_server(port):
        stage.stored(stage.send(asset=an_asset()))
        stage.stored(stage.send(request_id, asset=asset))  # Redis lost it, or it is on record
        assert len(stage.emulator.control.jobs(asset)) == 1
        assert worker.process.poll() is None


def test_a_flushed_broker_loses_nothing(stage: Stage, pool: str, broker_url: str) -> None:
    worker = stage.start(pool)
    stage.stored(stage.send(asset=an_asset()))
    stage.kill(worker)
    request_id = stage.send(asset=an_asset())
    worker = stage.start(pool)
    stage.reaches(request_id, State.EXPORTING)
    with redis.Redis.from_url(broker_url) as client:
        client.flushdb()
    stage.stored(request_id)
    wait_until(lambda: stage.messages() == 0, what="an empty broker")
    assert worker.process.poll() is None
