"""Fixtures: a database and a broker, real ones where the environment names them, else embedded."""

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from uuid import uuid4

import psycopg
import pytest
import redis
from sqlalchemy import make_url
from sqlalchemy.orm import Session, sessionmaker

import migrations
from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from tests.engines import Lent
from worker import embedded

REDIS_URL = os.environ.get("TEST_REDIS_URL")
DATABASE_URL = os.environ.get("TEST_DATABASE_URL")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let a test that needs a real service skip on a laptop, and fail where CI is set.

    On the real services a test is not run that touches neither: it would do what it did without.
    Those that may take the longest come first: the last ones of a parallel run should be short.
    """
    items.sort(key=_most_seconds, reverse=True)
    missing = [name for name in ("TEST_REDIS_URL", "TEST_DATABASE_URL") if name not in os.environ]
    if not missing:
        others = [item for item in items if not _touches_a_service(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _touches_a_service(item)]
    elif "CI" not in os.environ:
        skip = pytest.mark.skip(reason=f"{' and '.join(missing)} not set: make services-test")
        for item in items:
            if "services" in item.keywords:
                item.add_marker(skip)


def _most_seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0] if mark else item.config.getini("timeout"))


def _touches_a_service(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return "services" in item.keywords or not {"database_url", "broker_url"}.isdisjoint(fixtures)


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the name of a migrated database, or of its file, to make copies of."""
    if DATABASE_URL is None:
        path = tmp_path_factory.mktemp("template") / "exports.db"
        migrations.upgrade(f"sqlite:///{path}")
        yield str(path)
        return
    name = f"template_{uuid4().hex}"
    with psycopg.connect(DATABASE_URL, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        migrations.upgrade(_named(name))
        yield name
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _named(name: str) -> str:
    assert DATABASE_URL is not None
    return make_url(DATABASE_URL).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def database_url(_template: str, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a migrated database of the test's own."""
    if DATABASE_URL is None:
        yield f"sqlite:///{copy(_template, tmp_path)}"
        return
    name = f"test_{uuid4().hex}"
    with psycopg.connect(DATABASE_URL, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{_template}"')
        yield _named(name)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def _lent(_template: str) -> Iterator[Lent]:
    lent = Lent(DATABASE_URL or f"sqlite:///{_template}")
    yield lent
    lent.engine.dispose()


@pytest.fixture
def sessions(_lent: Lent, database_url: str) -> Iterator[sessionmaker[Session]]:
    """Give the factory of sessions on the test's own database."""
    with _lent.to(database_url) as sessions:
        yield sessions


@pytest.fixture
def broker_url() -> Iterator[str]:
    """Give the URL of an empty broker."""
    if REDIS_URL is None:
        with embedded.broker() as url:
            yield url
        return
    # each process of a parallel run has a database of its own; kombu keeps them apart
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    url = f"{REDIS_URL.rsplit('/', 1)[0]}/{number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture(scope="session")
def _shared_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    settings = EmulatorSettings(
        run_seconds=1.0,
        retry_wait_seconds=0.2,
        media_seconds=1.0,
        media_dir=tmp_path_factory.mktemp("media"),
    )
    with Emulator(settings) as emulator:
        yield emulator


@pytest.fixture
def emulator(_shared_emulator: Emulator) -> Emulator:
    """Give an emulator that remembers nothing; its jobs take a second."""
    _shared_emulator.control.reset()
    return _shared_emulator
