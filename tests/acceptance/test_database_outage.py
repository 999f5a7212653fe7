"""A database that is away for a while: nothing is lost, nothing is paid twice, all goes on."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import make_url

from models import State
from tests.acceptance.stage import Stage
from tests.factories import an_asset
from tests.waiting import wait_until

pytestmark = pytest.mark.services


def cut(connection: psycopg.Connection, database: str) -> None:
    """Cut all connections to `database` but this one."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = %s AND pid <> pg_backend_pid()",
        [database],
    )


@contextmanager
def administered(stage: Stage) -> Iterator[tuple[psycopg.Connection, str]]:
    """Give a connection to the server, beside the database of the stage, and that one's name."""
    url = make_url(stage.database_url)
    server = url.set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        yield connection, str(url.database)


def under_way(stage: Stage, pool: str) -> list[str]:
    """Return requests in the middle of their ways: one at Uplynk, one being downloaded."""
    stage.emulator.control.fault("media", "throttle", bytes_per_second=3000)
    stage.start(pool)
    downloading = stage.send(asset=an_asset())
    stage.reaches(downloading, State.DOWNLOADING)
    slow = an_asset()
    stage.emulator.control.asset(slow, run_seconds=4)
    exporting = stage.send(asset=slow)
    stage.reaches(exporting, State.EXPORTING)
    return [downloading, exporting]


def finished(stage: Stage, requests: list[str]) -> None:
    """See that all of them are stored, each paid for once."""
    stage.emulator.control.clear_faults()
    for request_id in requests:
        export = stage.stored(request_id)
        assert len(stage.emulator.control.jobs(export.asset)) == 1
    assert all(worker.process.poll() is None for worker in stage.workers)


def test_connections_are_cut_again_and_again(stage: Stage, pool: str) -> None:
    requests = under_way(stage, pool)
    with administered(stage) as (connection, database):
        for _ in range(5):
            cut(connection, database)
            requests.append(stage.send(asset=an_asset()))
    finished(stage, requests)


def test_the_database_is_read_only_for_a_while(stage: Stage, pool: str) -> None:
    requests = under_way(stage, pool)
    late = an_asset()
    with administered(stage) as (connection, database):
        name = f'"{database}"'
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        cut(connection, database)
        log = stage.folder / "worker.log"
        wait_until(lambda: "read-only" in log.read_text(), what="a refusal to write")
        requests.append(stage.send(asset=late))
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    finished(stage, requests)
