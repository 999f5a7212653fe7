"""Place: where two workers are compared: Redis, PostgreSQL and the emulator, each new."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine, text

import migrations
from emulator.control import Control
from emulator.settings import EmulatorSettings
from models.database import open_engine
from tests.services import free_port, listens, postgres_server, process, redis_server
from tests.waiting import wait_until

DEFAULTS = EmulatorSettings()
CONTROL_SECONDS = 120.0

# Every statement is counted; BEGIN and COMMIT are no statements of anybody's.
COUNTING = (
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.track_utility=off",
    "pg_stat_statements.max=20000",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is measured.

    Attributes:
        redis_url: of the broker.
        engine: on the database, which is migrated.
        control: of the emulator.
        environment: what a worker is told to find all this.
        folder: for whatever it leaves.
    """

    redis_url: str
    engine: Engine
    control: Control
    environment: dict[str, str]
    folder: Path

    def number(self, query: str) -> int:
        """Return the one number that a query gives; 0 for null."""
        with self.engine.connect() as connection:
            return int(connection.scalar(text(query)) or 0)

    def seconds(self, query: str) -> list[float]:
        """Return the column of seconds that a query gives."""
        with self.engine.connect() as connection:
            return [float(value) for value in connection.scalars(text(query))]


@contextmanager
def place(emulated: Sequence[str] = ()) -> Iterator[Place]:
    """Run what both need; all of it is new.

    Args:
        emulated: options of `bench.emulated`.
    """
    port = free_port()
    emulator = [sys.executable, "-m", "bench.emulated", "--port", str(port), *emulated]
    with (
        TemporaryDirectory() as name,
        redis_server() as (redis_url, _),
        postgres_server(COUNTING) as server,
        process(emulator),
    ):
        wait_until(lambda: listens(port), what="the emulator")
        database_url = server.replace("postgresql://", "postgresql+psycopg://")
        migrations.upgrade(database_url)
        engine = open_engine(database_url)
        with engine.begin() as connection:
            connection.execute(text("CREATE EXTENSION pg_stat_statements"))
        url = f"http://127.0.0.1:{port}"
        environment = {
            "CELERY_BROKER_URL": redis_url,
            "DATABASE_URL": database_url,
            "UPLYNK_API_URL": url,
            "UPLYNK_USER_ID": DEFAULTS.user_id,
            "UPLYNK_API_KEY": DEFAULTS.api_key,
            "UPLYNK_CALLS_PER_SECOND": "10000",
            "DOWNLOAD_HOSTS": "127.0.0.1",
            "STORAGE_URL": f"{name}/exports",
            "SCRATCH_DIR": f"{name}/scratch",
        }
        try:
            yield Place(redis_url, engine, Control(url, CONTROL_SECONDS), environment, Path(name))
        finally:
            engine.dispose()
