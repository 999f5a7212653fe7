"""Fixtures: a database and a broker, real ones where the environment names them, else embedded."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis
import structlog
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from tests.databases import Copies, Files
from tests.engines import Lent
from tests.settings_page import FIELDS
from worker import embedded

# No test sees the settings of who runs them: a worker would write into their database. It is done
# here, as a worker's application reads them when it is imported (tests/unit/conftest.py).
for name in [each for each in os.environ if each.lower() in FIELDS]:
    del os.environ[name]

REDIS_URL = os.environ.get("TEST_REDIS_URL")
DATABASE_URL = os.environ.get("TEST_DATABASE_URL")


def pytest_configure() -> None:
    """Have errors logged in their plain form: rich's takes a third of a second for each."""
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let a test that needs a real service skip on a laptop, and fail where CI is set.

    On the real services a test is not run that touches neither: it would do what it did without.
    """
    items[:] = _spread(items)
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


def _spread(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the tests in an order for a parallel run.

    Acceptance tests mostly wait and others mostly reckon, so those of each folder are spread over
    all of the run; and of a folder's those come first that may take the longest.
    """
    folders: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in sorted(items, key=_most_seconds, reverse=True):
        folders[item.path.parent.name].append(item)
    placed = [
        (number / len(folder), item)
        for folder in folders.values()
        for number, item in enumerate(folder)
    ]
    return [item for _, item in sorted(placed, key=lambda place: place[0])]


def _most_seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0] if mark else item.config.getini("timeout"))


def _touches_a_service(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return "services" in item.keywords or not {"database_url", "broker_url"}.isdisjoint(fixtures)


@pytest.fixture(scope="session")
def _databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files | Copies]:
    if DATABASE_URL is None:
        yield Files(tmp_path_factory.mktemp("template"))
        return
    copies = Copies(DATABASE_URL)
    yield copies
    copies.close()


@pytest.fixture
def database_url(_databases: Files | Copies, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a migrated database of the test's own."""
    with _databases.one(tmp_path) as url:
        yield url


@pytest.fixture(scope="session")
def _lent(_databases: Files | Copies) -> Iterator[Lent]:
    lent = Lent(_databases.url)
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
