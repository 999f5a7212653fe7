"""Waiting: what exports cost that are under way at Uplynk, ours beside a textbook's.

`python -m bench.waiting` starts Redis, PostgreSQL, the emulator and a worker (threads, four), puts
so many exports under way, waits until each was looked at, and measures over the next cycles.
Both look at each job once in `--interval` seconds; ours up to POLL_MIN_SECONDS (5) later, so that
jobs which are due one after the other are looked at together.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import click
import redis
from sqlalchemy import Engine, insert, text

import migrations
from bench import textbook
from emulator.control import Control
from emulator.settings import EmulatorSettings
from models import Audio, Export, State
from models.database import open_engine
from tests.services import free_port, listens, postgres_server, process, redis_server
from tests.waiting import wait_until
from worker.embedded import WorkerProcess, command

DEFAULTS = EmulatorSettings()
TICKS = os.sysconf("SC_CLK_TCK")
# So old are ours that a look comes after POLL_MAX_SECONDS, and no sooner.
AGE = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Cost:
    """What it cost, over all cycles.

    Attributes:
        by: whose it is.
        exports: how many were under way.
        calls: made to Uplynk's API.
        looks: how often a job was looked at.
        cpu_seconds: of the worker.
        peak_mib: the most memory that the worker ever held.
        redis_kib: what Redis holds more than before anything was under way.
        transactions: that PostgreSQL committed.
    """

    by: str
    exports: int
    calls: int
    looks: int
    cpu_seconds: float
    peak_mib: float
    redis_kib: float
    transactions: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is measured."""

    redis_url: str
    engine: Engine
    database_url: str
    control: Control
    api_url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What both workers are told."""
        return {
            "CELERY_BROKER_URL": self.redis_url,
            "DATABASE_URL": self.database_url,
            "UPLYNK_API_URL": self.api_url,
            "UPLYNK_USER_ID": DEFAULTS.user_id,
            "UPLYNK_API_KEY": DEFAULTS.api_key,
        }


@contextmanager
def place() -> Iterator[Place]:
    """Run what both need; all of it is new."""
    port = free_port()
    emulator = [sys.executable, "-m", "emulator", "--port", str(port), "--run-seconds", "1000000"]
    with (
        TemporaryDirectory() as name,
        redis_server() as (redis_url, _),
        postgres_server() as server,
        process(emulator),
    ):
        wait_until(lambda: listens(port), what="the emulator")
        database_url = server.replace("postgresql://", "postgresql+psycopg://")
        migrations.upgrade(database_url)
        engine = open_engine(database_url)
        url = f"http://127.0.0.1:{port}"
        yield Place(redis_url, engine, database_url, Control(url), url, Path(name))
        engine.dispose()


def make_jobs(where: Place, number: int) -> list[tuple[str, str]]:
    """Have the emulator make so many jobs; returns (asset, job) of each."""
    os.environ |= where.environment
    textbook.slicer.cache_clear()  # it was another place's

    def make(n: int) -> tuple[str, str]:
        asset = f"{n:032x}"
        return asset, textbook.slicer().create_export(asset, aaclc=False).id

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(make, range(number)))


def cpu_seconds(pid: int) -> float:
    """Return what a process has used, with the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def peak_mib(pid: int) -> float:
    """Return the most memory that a process has held (VmHWM of proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status tells no VmHWM")


def redis_kib(where: Place) -> float:
    """Return what Redis holds for its data."""
    with redis.Redis.from_url(where.redis_url) as client:
        return float(client.info("memory")["used_memory_dataset"]) / 1024


def scalar(where: Place, query: str) -> int:
    """Return the one number that a query gives."""
    with where.engine.connect() as connection:
        return int(connection.scalar(text(query)) or 0)


def ours(where: Place, jobs: list[tuple[str, str]], interval: float) -> tuple[list[str], str]:
    """Put exports under way in our tables; returns the worker's command and the query for looks."""
    now, random = datetime.now(UTC), Random(1)
    rows = [
        {
            "account": DEFAULTS.user_id,
            "asset": asset,
            "audio": Audio.HE_AAC,
            "state": State.EXPORTING,
            "state_since": now,
            "created_at": now,
            "begun_at": now,
            "job_id": job,
            "job_created_at": now - AGE,
            "due_at": now + timedelta(seconds=random.uniform(0, interval)),
        }
        for asset, job in jobs
    ]
    with where.engine.begin() as connection:
        connection.execute(insert(Export), rows)
    worker = command(queues="exports,downloads", pool="threads", concurrency=4, level="WARNING")
    return worker, "SELECT sum(polls) FROM exports"


def textbooks(where: Place, jobs: list[tuple[str, str]], interval: float) -> tuple[list[str], str]:
    """Put exports under way as messages; returns the worker's command and the query for looks."""
    random = Random(1)
    textbook.create_table(where.engine)
    textbook.app.conf.broker_url = where.redis_url
    delays = [random.uniform(0, interval) for _ in jobs]
    textbook.begin(where.engine, [job for _, job in jobs], delays)
    celery = [sys.executable, "-m", "celery", "--app", "bench.textbook", "worker"]
    how = ["--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING"]
    return [*celery, *how], "SELECT sum(polls) FROM textbook"


def measured(by: str, exports: int, *, interval: float, cycles: int) -> Cost:
    """Measure one worker with so many exports under way."""
    with place() as where:
        jobs = make_jobs(where, exports)
        redis_before = redis_kib(where)
        begin = ours if by == "ours" else textbooks
        arguments, looks = begin(where, jobs, interval)
        settings = {
            "STORAGE_URL": str(where.folder / "exports"),
            "SCRATCH_DIR": str(where.folder / "scratch"),
            "POLL_MAX_SECONDS": str(interval),
            "UPLYNK_CALLS_PER_SECOND": "10000",
            "INTERVAL_SECONDS": str(interval),
        }
        log = where.folder / "worker.log"
        with log.open("wb") as output:
            worker = WorkerProcess(
                arguments, environment=where.environment | settings, output=output
            )
            pid = worker.process.pid
            try:
                wait_until(
                    lambda: scalar(where, looks) >= exports, seconds=600, what="a look at each"
                )
                before = counted(where, looks, pid)
                time.sleep(interval * cycles)
                after = counted(where, looks, pid)
                held = redis_kib(where) - redis_before
                peak = peak_mib(pid)
            finally:
                worker.stop()
    calls, looked, cpu, transactions = (b - a for a, b in zip(before, after, strict=True))
    return Cost(by, exports, int(calls), int(looked), cpu, peak, held, int(transactions))


def counted(where: Place, looks: str, pid: int) -> tuple[float, float, float, float]:
    """Return the calls, looks, CPU seconds and transactions until now."""
    calls = sum(where.control.calls()["calls"].values())
    committed = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return calls, scalar(where, looks), cpu_seconds(pid), scalar(where, committed)


@click.command()
@click.option("--exports", multiple=True, type=int, default=(1000, 10_000), show_default=True)
@click.option("--by", multiple=True, default=("ours", "textbook"), show_default=True)
@click.option("--interval", default=60.0, show_default=True, help="Seconds between two looks.")
@click.option("--cycles", default=3, show_default=True)
def main(exports: tuple[int, ...], by: tuple[str, ...], interval: float, cycles: int) -> None:
    """Print a JSON line for each worker and number of exports."""
    for number in exports:
        for whose in by:
            cost = measured(whose, number, interval=interval, cycles=cycles)
            click.echo(json.dumps({**asdict(cost), "interval": interval, "cycles": cycles}))


if __name__ == "__main__":
    main()
