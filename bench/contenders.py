"""Contenders: our worker and the textbook's, told apart by nothing else than what is here."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery
from sqlalchemy import insert, text

from bench import textbook
from bench.emulated import numbered
from bench.place import DEFAULTS, Place
from models import Audio, Export, State
from worker.embedded import WorkerProcess, command

CONCURRENCY = 4
# So old are our exports that wait that a look comes after POLL_MAX_SECONDS, and no sooner. The
# higher its number, the younger a job is: so the list has them.
LONG_AGO = datetime.now(UTC) - timedelta(hours=3)
APART = timedelta(milliseconds=10)


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the two.

    Attributes:
        name: its name.
        arguments: gives its worker's command line, by the pool that it is to have.
        waits: the command line of a worker that looks at jobs, and brings no files.
        table: has a row for each export, with `job_id`, `state` and `polls`.
        put: puts exports under way whose jobs bear these numbers, each to be looked at after its
            delay (seconds) for the first time.
        task: asks for an export; `queue` is where it is sent.
        ask: makes the task's arguments of an asset's id.
        stored: the query for the seconds (Unix time) at which exports were stored.
        due: the query for the number of exports that are due for a look.
        found: the query for the seconds (Unix time) at which jobs were found done, of all that are;
            in the order of their jobs' ids.
    """

    name: str
    arguments: Callable[[str], list[str]]
    waits: list[str]
    table: str
    put: Callable[[Place, Sequence[int], Sequence[float]], None]
    task: str
    queue: str
    ask: Callable[[str], dict[str, Any]]
    stored: str
    due: str
    found: str

    @property
    def looks(self) -> str:
        """The query for the number of looks, at all exports together."""
        return f"SELECT sum(polls) FROM {self.table}"  # noqa: S608  (a name of ours)

    @property
    def unseen(self) -> str:
        """The query for the number of exports that were not looked at yet."""
        return f"SELECT count(*) FROM {self.table} WHERE polls = 0"  # noqa: S608  (same)

    def send(self, where: Place, assets: Sequence[str]) -> None:
        """Ask for an export of each asset, by a message each."""
        with sender(where) as app:
            for asset in assets:
                app.send_task(self.task, queue=self.queue, **self.ask(asset))


@contextmanager
def sender(where: Place) -> Iterator[Celery]:
    """Give what sends messages to the place's broker."""
    with Celery(broker=where.redis_url, set_as_current=False) as app:
        yield app


@contextmanager
def worker(
    where: Place,
    contender: Contender,
    environment: dict[str, str],
    *,
    only_waits: bool = False,
    pool: str = "threads",
) -> Iterator[int]:
    """Run the contender's worker, with four threads or children; gives its process id."""
    with (where.folder / f"{contender.name}.log").open("ab") as output:
        running = WorkerProcess(
            contender.waits if only_waits else contender.arguments(pool),
            environment=where.environment | environment,
            output=output,
        )
        try:
            yield running.process.pid
        finally:
            running.stop()


def paced(interval: float) -> dict[str, str]:
    """Return what has either look at each job once in so many seconds."""
    return {"POLL_MAX_SECONDS": f"{interval}", "INTERVAL_SECONDS": f"{interval}"}


def _put_ours(where: Place, numbers: Sequence[int], delays: Sequence[float]) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "account": DEFAULTS.user_id,
            "asset": numbered(n),
            "audio": Audio.HE_AAC,
            "state": State.EXPORTING,
            "state_since": now,
            "created_at": now,
            "begun_at": now,
            "job_id": numbered(n),
            "job_created_at": LONG_AGO + n * APART,
            "due_at": now + timedelta(seconds=delay),
        }
        for n, delay in zip(numbers, delays, strict=True)
    ]
    with where.engine.begin() as connection:
        connection.execute(insert(Export), rows)


def _put_textbooks(where: Place, numbers: Sequence[int], delays: Sequence[float]) -> None:
    rows = [{"job_id": numbered(n)} for n in numbers]
    with where.engine.begin() as connection:
        connection.execute(text("INSERT INTO textbook (job_id) VALUES (:job_id)"), rows)
    with sender(where) as app:
        for row, delay in zip(rows, delays, strict=True):
            app.send_task("textbook.poll", [row["job_id"]], queue=textbook.QUEUE, countdown=delay)


OURS = Contender(
    name="ours",
    arguments=lambda pool: command(
        queues="exports,downloads", pool=pool, concurrency=CONCURRENCY, level="WARNING"
    ),
    waits=command(queues="exports", pool="threads", concurrency=CONCURRENCY, level="WARNING"),
    table="exports",
    put=_put_ours,
    task="exports.create",
    queue="exports",
    ask=lambda asset: {"kwargs": {"asset": asset, "aaclc": True}},
    stored="SELECT extract(epoch FROM state_since) FROM exports WHERE state = 'stored'",
    due="SELECT count(*) FROM exports WHERE due_at <= now()",
    found=(
        "SELECT extract(epoch FROM h.at) FROM history h JOIN exports e ON e.id = h.export_id"
        " WHERE h.to_state = 'downloading' ORDER BY e.job_id"
    ),
)


def _textbooks(pool: str) -> list[str]:
    return [
        *(sys.executable, "-m", "celery", "--app", "bench.textbook", "worker"),
        *("--pool", pool, "--concurrency", str(CONCURRENCY), "--loglevel", "WARNING"),
    ]


TEXTBOOK = Contender(
    name="textbook",
    arguments=_textbooks,
    waits=_textbooks("threads"),
    table="textbook",
    put=_put_textbooks,
    task="textbook.create",
    queue=textbook.QUEUE,
    ask=lambda asset: {"args": [asset]},
    stored="SELECT extract(epoch FROM stored_at) FROM textbook WHERE state = 'stored'",
    due="SELECT count(*) FROM textbook",  # at every moment some are: each goes by its own time
    found="SELECT extract(epoch FROM looked_at) FROM textbook ORDER BY job_id",
)

CONTENDERS = {each.name: each for each in (OURS, TEXTBOOK)}


def prepare(where: Place) -> None:
    """Make what the textbook's worker needs; our tables are there."""
    with where.engine.begin() as connection:
        connection.execute(text(textbook.TABLE))
