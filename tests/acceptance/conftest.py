"""Fixtures of the acceptance tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from tests.acceptance.stage import Desk, Stage, cleared
from tests.forge import Forge, forge

# Whose workers and commands are traced for coverage; the others run the same lines again.
TRACED = {"test_main_job.py", "test_cli.py", "test_cancel_and_retry.py", "test_batches.py"}


@pytest.fixture(autouse=True)
def _traced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have only those processes traced for coverage of which that tells something."""
    if request.path.name not in TRACED:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(params=["prefork", "threads"])
def pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give each pool that a worker can be run with.

    Forked children run the same lines as threads, and to trace them as well takes its time.
    """
    if request.param == "prefork":
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    return str(request.param)


@pytest.fixture(scope="session")
def _forge() -> Iterator[Forge]:
    with forge() as started:
        yield started


@pytest.fixture
def desk(tmp_path: Path, emulator: Emulator, _forge: Forge) -> Desk:
    """Give a desk in a folder of its own."""
    return Desk(folder=tmp_path, emulator=emulator, forge=_forge)


@pytest.fixture
def stage(
    tmp_path: Path,
    database_url: str,
    broker_url: str,
    emulator: Emulator,
    sessions: sessionmaker[Session],
    _forge: Forge,
) -> Iterator[Stage]:
    """Give a stage with no worker on it yet; its worker's log is shown if the test fails."""
    stage = Stage(
        folder=tmp_path,
        emulator=emulator,
        forge=_forge,
        database_url=database_url,
        broker_url=broker_url,
        sessions=sessions,
    )
    with cleared(stage):
        yield stage
    if (tmp_path / "worker.log").exists():
        print((tmp_path / "worker.log").read_text()[-20_000:])  # noqa: T201  (pytest shows it)
