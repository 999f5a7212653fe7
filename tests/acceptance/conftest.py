"""Fixtures of the acceptance tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from tests.acceptance.stage import Stage, cleared


@pytest.fixture(params=["prefork", "threads"])
def pool(request: pytest.FixtureRequest) -> str:
    """Give each pool that a worker can be run with."""
    return str(request.param)


@pytest.fixture
def stage(
    tmp_path: Path,
    database_url: str,
    broker_url: str,
    emulator: Emulator,
    sessions: sessionmaker[Session],
) -> Iterator[Stage]:
    """Give a stage with no worker on it yet; its worker's log is shown if the test fails."""
    with cleared(Stage(tmp_path, database_url, broker_url, emulator, sessions)) as stage:
        yield stage
    if (tmp_path / "worker.log").exists():
        print((tmp_path / "worker.log").read_text()[-20_000:])  # noqa: T201  (pytest shows it)
