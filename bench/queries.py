"""Queries: how long the due work takes to be found and claimed among a million exports.

`python -m bench.queries` fills a PostgreSQL with exports that are stored, under way and asked for,
renews its statistics, and runs each query so many times, each in a transaction that is rolled back.
The time is that of the whole query as a step makes it, its way to the server and back included.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

import click
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

import migrations
from models import State, admission, claims, places
from models.database import open_engine
from tests.explaining import explained
from tests.services import postgres_server
from worker.steps.survey import LEAST_PART

FINISHED, WAITING = 1_000_000, 100_000
REQUESTERS = 7
ROUNDS = 50
ACCOUNT = "a"
UNTIL = timedelta(minutes=2)
# So many of those that wait are due.
DUE_PART = 100

_FILL = """
    INSERT INTO exports (id, account, asset, audio, priority, requester, state, state_since,
                         created_at, job_created_at, done_at, due_at, attempts, looks, polls)
    SELECT gen_random_uuid(), 'a', md5('{state}' || g), 'he-aac', g % 10,
           'who-' || g % {requesters}, '{state}', now() - g * interval '1 second', now(),
           now() - g * interval '1 second', now() - g * interval '1 second', {due_at}, 0, 0, 0
    FROM generate_series(1, {number}) g
"""
_TURNS = """
    INSERT INTO turns (account, requester, served)
    SELECT 'a', 'who-' || g, g FROM generate_series(0, {last}) g
"""

Query = Callable[[Session, datetime], object]


@dataclass(frozen=True, slots=True)
class Took:
    """What a query took.

    Attributes:
        name: what it is for.
        rounds: how often it was run.
        median_ms: how long it took, on the median.
        most_ms: the longest of these.
        finished: how many exports there were that have ended.
        waiting: how many are under way at Uplynk, and how many are asked for, besides.
        plan: PostgreSQL's plan of its last statement, as EXPLAIN (ANALYZE) tells it.
    """

    name: str
    rounds: int
    median_ms: float
    most_ms: float
    finished: int
    waiting: int
    plan: list[str]


def _take(state: State, limit: int) -> Query:
    return lambda session, now: claims.take(
        session, state, now=now, until=now + UNTIL, limit=limit, account=ACCOUNT
    )


QUERIES: Mapping[str, Query] = {
    "what is due for a look": lambda session, now: claims.due(
        session, State.EXPORTING, now=now, limit=50, account=ACCOUNT
    ),
    "how many are due, and the newest of them": lambda session, now: places.due(
        session, by=now, account=ACCOUNT
    ),
    "the place in the list of one amid them": lambda session, now: places.between(
        session, now, now - timedelta(seconds=WAITING // 2), account=ACCOUNT
    ),
    "claim 50 for a look": _take(State.EXPORTING, 50),
    "the window, whose turn it is, and its oldest": lambda session, now: admission.outlook(
        session, account=ACCOUNT, now=now
    ),
    "the window, and the eight that are next": lambda session, now: admission.outlook(
        session, account=ACCOUNT, now=now, most=8
    ),
    "claim the next download": _take(State.DOWNLOADING, 1),
    "when the next is due": lambda session, _: claims.next_due(
        session, State.EXPORTING, account=ACCOUNT
    ),
    "when a tenth of them is due": lambda session, _: claims.next_due(
        session, State.EXPORTING, account=ACCOUNT, nth=WAITING // LEAST_PART
    ),
}


@contextmanager
def crowded(finished: int, waiting: int) -> Iterator[Engine]:
    """Give a database with so many exports."""
    due_at = f"now() + (g - {waiting // DUE_PART}) * interval '1 second'"
    with postgres_server() as server:
        migrations.upgrade(server)
        engine = open_engine(server)
        with engine.begin() as connection:
            connection.execute(text("SET statement_timeout = 0"))
            for state, number, due in (
                (State.STORED, finished, "NULL"),
                (State.EXPORTING, waiting, due_at),
                (State.REQUESTED, waiting, "now() - g * interval '1 second'"),
                (State.DOWNLOADING, waiting // DUE_PART, "now()"),
            ):
                fill = _FILL.format(state=state, number=number, due_at=due, requesters=REQUESTERS)
                connection.execute(text(fill))
            connection.execute(text(_TURNS.format(last=REQUESTERS - 1)))
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text("VACUUM ANALYZE"))
        yield engine
        engine.dispose()


def measured(engine: Engine, name: str, *, finished: int, waiting: int) -> Took:
    """Measure one query."""
    query, took = QUERIES[name], list[float]()
    for _ in range(ROUNDS):
        with Session(engine) as session:
            now = datetime.now(UTC)
            session.connection()
            begun = time.perf_counter()
            query(session, now)
            took.append(1000 * (time.perf_counter() - begun))
            session.rollback()
    plan = longest_plan(engine, query)
    return Took(name, ROUNDS, median(took), max(took), finished, waiting, plan)


def longest_plan(engine: Engine, query: Query) -> list[str]:
    """Return the plan of the longest statement of a query, a line each."""
    url = engine.url.render_as_string(hide_password=False)
    with explained(url, "EXPLAIN (ANALYZE, COSTS OFF)") as (session, plans):
        query(session, datetime.now(UTC))
    return [str(row[0]) for row in max(plans, key=len)]


@click.command()
@click.option("--finished", default=FINISHED, show_default=True)
@click.option("--waiting", default=WAITING, show_default=True)
def main(finished: int, waiting: int) -> None:
    """Print a JSON line for each query."""
    with crowded(finished, waiting) as engine:
        for name in QUERIES:
            took = measured(engine, name, finished=finished, waiting=waiting)
            click.echo(json.dumps(asdict(took)))


if __name__ == "__main__":
    main()
