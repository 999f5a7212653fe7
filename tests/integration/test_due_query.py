"""The queries of the queue: each is served by the index that is meant for it, and sorts nothing.

On PostgreSQL they run among a million exports: with the planner's statistics up to date, and with
statistics from before the backlog came.
"""

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import ColumnElement, Select, TextClause, make_url, select
from sqlalchemy.orm import Session

import migrations
from models import (
    Audio,
    Export,
    History,
    Request,
    State,
    admission,
    claims,
    deletions,
    deliveries,
    figures,
    outbox,
    places,
    pruning,
)
from models.export import IS_UNDER_WAY, IS_WITHOUT_FILE
from models.listing import Place, Sort, Wanted, next_account, page
from models.passage import ended_unheard, pass_on
from tests.explaining import explained
from worker import notices
from worker.console import finding
from worker.console.finding import Asked
from worker.steps import bulk
from worker.steps.bulk import Batchful, Entry
from worker.steps.wish import Wish

NOW = datetime.now(UTC)
AN_HOUR_AGO = NOW - timedelta(hours=1)
UNTIL = NOW + timedelta(minutes=2)
ONE = UUID(int=1)
SOME = [UUID(int=number) for number in range(200)]
ACCOUNT = "a"  # of every export
WINDOW = {State.SUBMITTING, State.EXPORTING}

DUE, TURNS, DOWNLOADS = "ix_exports_due", "ix_exports_turns", "ix_exports_downloads"
CAPTIONS = "ix_exports_captions_due"
RECEIVERS = "ix_notifications_of_receiver"
TO_DELETE = "ix_exports_job_delete_at"
# of a list some assets are stored, and some are under way
LIST = [
    Entry(f"{state}{number}", Wish(asset=md5(f"{state}{number}".encode()).hexdigest()))  # noqa: S324
    for state in (State.STORED, State.EXPORTING)
    for number in range(1, 501)
]
SAME_ASSET = (Export.account == "a", Export.asset == "b", Export.audio == Audio.HE_AAC)

Query = Callable[[Session], object]


def taking(state: State, limit: int = 1) -> Query:
    return lambda session: claims.take(
        session,
        state,
        now=NOW,
        until=UNTIL,
        limit=limit,
        account=ACCOUNT,
    )


def looking(state: State) -> Query:
    return lambda session: claims.due(session, state, now=NOW, limit=8, account=ACCOUNT)


def old(ended: ColumnElement[bool] | TextClause) -> Query:
    return lambda session: pruning.old_exports(
        session,
        pruning.Place(NOW - timedelta(days=100), 5),
        ended=ended,
        account=ACCOUNT,
        before=NOW - timedelta(days=60),
        limit=20,
        only=pruning.is_free(keeps_jobs=True),
    )


def page_of(session: Session, rows: Select[Any]) -> object:
    return session.scalars(rows.limit(25)).all()


def listing(**wanted: Any) -> Query:
    return lambda session: page(session, Wanted(limit=20, **wanted), [ACCOUNT])


QUERIES: dict[str, tuple[str, Query]] = {
    "the most urgent": (
        TURNS,
        lambda session: admission.highest(session, ACCOUNT, NOW),
    ),
    "whose turn it is": (
        TURNS,
        lambda session: admission.in_turn(session, ACCOUNT, NOW, 9),
    ),
    "the window, and whose turn it is": (
        TURNS,
        lambda session: admission.outlook(session, account=ACCOUNT, now=NOW),
    ),
    "the window, and whose turns they are": (
        TURNS,
        lambda session: admission.outlook(session, account=ACCOUNT, now=NOW, most=8),
    ),
    "admit": (
        "pk_exports",
        lambda session: admission.admit(
            session, [("who-1", ONE)], account=ACCOUNT, now=NOW, until=UNTIL
        ),
    ),
    "pass on": (
        "pk_exports",
        lambda session: pass_on(
            session,
            Export(id=ONE, state=State.SUBMITTING, claim=ONE),
            State.EXPORTING,
            now=NOW,
            reason="",
            due_at=UNTIL,
            if_wanted=True,
            values={"job_id": "j"},
        ),
    ),
    "end": (
        "pk_exports",
        lambda session: session.execute(
            ended_unheard(("state", "due_at")),
            {"this": ONE, "token": ONE, "new_state": State.STORED, "new_due_at": None},
        ),
    ),
    "take submitting": (DUE, taking(State.SUBMITTING)),
    "take exporting": (DUE, taking(State.EXPORTING, 50)),
    "take downloading": (DOWNLOADS, taking(State.DOWNLOADING)),
    "take one": (
        "pk_exports",
        lambda session: session.scalars(
            claims.loading(claims.claiming(State.REQUESTED)[0]),
            {"these": [ONE], "now": NOW, "until": UNTIL, "token": ONE},
        ).all(),
    ),
    "take in danger": (
        "ix_exports_done_at",
        lambda session: claims.take(
            session,
            State.DOWNLOADING,
            now=NOW,
            until=UNTIL,
            account=ACCOUNT,
            only=claims.DONE_BY,
            by=NOW - timedelta(hours=48),
        ),
    ),
    "take unwanted": (
        "ix_exports_unwanted",
        lambda session: claims.take(
            session,
            State.EXPORTING,
            now=NOW,
            until=UNTIL,
            limit=50,
            account=ACCOUNT,
            only=claims.IS_UNWANTED,
        ),
    ),
    "count due": (
        DUE,
        lambda session: places.due(session, by=NOW, account=ACCOUNT),
    ),
    "the newest due that is older": (
        DUE,
        lambda session: places.due(
            session, by=NOW, account=ACCOUNT, until=NOW - timedelta(minutes=30)
        ),
    ),
    "how many are between": (
        DUE,
        lambda session: places.between(
            session, NOW - timedelta(minutes=30), AN_HOUR_AGO, account=ACCOUNT
        ),
    ),
    "of a page": (
        "uq_exports_job_id",
        lambda session: claims.of_jobs(
            session,
            [f"j{number}" for number in range(100)],
            now=NOW,
            columns=[Export.id, Export.due_at],
        ),
    ),
    "due requested": (DUE, looking(State.REQUESTED)),
    "due exporting": (DUE, looking(State.EXPORTING)),
    "due downloading": (DOWNLOADS, looking(State.DOWNLOADING)),
    "next due": (DUE, lambda session: claims.next_due(session, State.REQUESTED, account=ACCOUNT)),
    "next due of none": (
        DUE,
        lambda session: claims.next_due(session, State.SUBMITTING, account=ACCOUNT),
    ),
    "when a page is due": (
        DUE,
        lambda session: claims.next_due(session, State.EXPORTING, account=ACCOUNT, nth=100),
    ),
    "when a part is due": (
        DUE,
        lambda session: claims.next_due(session, State.EXPORTING, account=ACCOUNT, nth=10_000),
    ),
    "stored lately": (
        "ix_exports_stored",
        lambda session: claims.stored_since(session, NOW - timedelta(hours=1), account=ACCOUNT),
    ),
    "the oldest done": (
        "ix_exports_done_at",
        lambda session: claims.oldest_done(session, account=ACCOUNT),
    ),
    "captions due": (
        CAPTIONS,
        lambda session: claims.captions_due(session, now=NOW, account=ACCOUNT),
    ),
    "next captions due": (
        CAPTIONS,
        lambda session: claims.next_captions_due(session, account=ACCOUNT),
    ),
    "jobs to be deleted": (
        TO_DELETE,
        lambda session: deletions.take(session, now=NOW, until=UNTIL, limit=20, account=ACCOUNT),
    ),
    "next job to be deleted": (
        TO_DELETE,
        lambda session: deletions.next_due(session, account=ACCOUNT),
    ),
    "old stored": ("ix_exports_stored", old(pruning.ENDED[0])),
    "old without a file": ("ix_exports_without_file", old(pruning.ENDED[1])),
    "old refused": (
        "ix_requests_without_export",
        lambda session: pruning.old_requests(
            session, place=pruning.Place(), before=NOW - timedelta(days=30), limit=20
        ),
    ),
    "the window": (DUE, lambda session: claims.count(session, WINDOW, account=ACCOUNT)),
    "under way": (DUE, lambda session: figures.under_way(session, account=ACCOUNT)),
    "ended": ("ix_exports_stored", lambda session: figures.ended(session, account=ACCOUNT)),
    "bytes stored lately": (
        "ix_exports_stored",
        lambda session: figures.stored_bytes_since(session, AN_HOUR_AGO, account=ACCOUNT),
    ),
    "failed lately": (
        "ix_exports_without_file",
        lambda session: figures.failed_since(session, AN_HOUR_AGO, account=ACCOUNT),
    ),
    "being brought": (
        DUE,
        lambda session: figures.being_brought(session, account=ACCOUNT, now=NOW),
    ),
    "the last stored": (
        "ix_exports_stored",
        lambda session: figures.last_stored(session, AN_HOUR_AGO, account=ACCOUNT, limit=200),
    ),
    "time in each state": (
        "ix_history_of_export",
        lambda session: figures.seconds_by_state(session, SOME),
    ),
    "notifications pending": ("ix_notifications_due", figures.pending),
    "next notification due": ("ix_notifications_due", deliveries.next_due),
    "notifications given up": ("ix_notifications_dead", figures.given_up),
    "held": ("pk_exports", lambda session: claims.held(session, ONE, ONE)),
    "renewed": (
        "pk_exports",
        lambda session: claims.renew(
            session, ONE, ONE, until=UNTIL, bytes_done=1, bytes_total=None
        ),
    ),
    "shared": (
        "uq_exports_under_way",
        lambda session: session.scalars(select(Export).where(*SAME_ASSET, IS_UNDER_WAY)).all(),
    ),
    "told of an end": (
        "ix_requests_of_export",
        lambda session: outbox.waiting(session, [ONE]),
    ),
    "to be told": (
        RECEIVERS,
        lambda session: deliveries.take(session, "r", now=NOW, until=UNTIL, limit=8),
    ),
    "next to be told": ("ix_notifications_due", deliveries.next_due),
    "newest notifications": (
        "ix_notifications_created_at",
        lambda session: notices.listed(session, stands=None, request_id=None, limit=20),
    ),
    "owner of a job": (
        "uq_exports_job_id",
        lambda session: session.scalar(select(Export.id).where(Export.job_id == "j")),
    ),
    "under way of a list": (
        "uq_exports_under_way",
        lambda session: bulk.under_way(session, ACCOUNT, LIST),
    ),
    "stored of a list": (
        "ix_exports_of_asset",
        lambda session: bulk.stored(session, Batchful(ACCOUNT, ""), LIST),
    ),
    "history": (
        "ix_history_of_export",
        lambda session: session.scalars(
            select(History).where(History.export_id == ONE).order_by(History.id)
        ).all(),
    ),
    "requests of an export": (
        "ix_requests_of_export",
        lambda session: session.scalars(select(Request.id).where(Request.export_id == ONE)).all(),
    ),
    "newest requests": ("ix_requests_created_at", listing()),
    "requests of an asset": ("ix_requests_of_asset", listing(asset="b")),
    "requests of a requester": ("ix_requests_of_requester", listing(requester="b")),
    "requests of a batch": ("ix_requests_of_batch", listing(batch="b")),
    "requests that wait": (DUE, listing(state=State.SUBMITTING, sort=Sort.CHANGED)),
    "the next account": (
        "ix_exports_without_file",
        lambda session: next_account(session, IS_WITHOUT_FILE, after=""),
    ),
    "a page of failed": (
        "ix_exports_without_file",
        lambda session: page_of(session, finding.exports(Asked(ACCOUNT, which=State.FAILED))),
    ),
    "a page of stored": (
        "ix_exports_stored",
        lambda session: page_of(session, finding.exports(Asked(ACCOUNT, which=State.STORED))),
    ),
    "a page of requested": (
        DUE,
        lambda session: page_of(session, finding.exports(Asked(ACCOUNT, which=State.REQUESTED))),
    ),
    "how many stored": (
        "ix_exports_stored",
        lambda session: session.scalars(
            finding.counted(finding.exports(Asked(ACCOUNT, which=State.STORED)), Export.id)
        ).all(),
    ),
    "found by asset": (
        "ix_exports_of_asset",
        lambda session: page_of(session, finding.exports(Asked(ACCOUNT, term="f" * 32))),
    ),
    "requests found by asset": (
        "ix_requests_of_export",
        lambda session: page_of(session, finding.requests(Asked(ACCOUNT, term="f" * 32))),
    ),
    "a page of requests": (
        "ix_requests_created_at",
        lambda session: page_of(session, finding.requests(Asked(ACCOUNT))),
    ),
    "a page of notifications": (
        "ix_notifications_created_at",
        lambda session: page_of(session, finding.notifications(Asked(ACCOUNT))),
    ),
    "requests in a state": (
        "ix_exports_stored",
        listing(state=State.STORED, sort=Sort.CHANGED),
    ),
    "failed requests": (
        "ix_exports_without_file",
        listing(state=State.FAILED, sort=Sort.CHANGED),
    ),
    "the next in a state": (
        "ix_exports_stored",
        listing(state=State.STORED, sort=Sort.CHANGED, after=Place(NOW, "b")),
    ),
    "refused or failed": (
        "ix_requests_without_export",
        listing(state=State.FAILED, sort=Sort.CHANGED),
    ),
    "withdrawn or cancelled": (
        "ix_requests_withdrawn",
        listing(state=State.CANCELLED, sort=Sort.CHANGED),
    ),
    "requests with a code": ("ix_exports_of_code", listing(code="b", sort=Sort.CHANGED)),
}
# These sort the page that they return.
PAGES = {name for name in QUERIES if "requests" in name} | {
    "the next in a state",
    "refused or failed",
    "withdrawn or cancelled",
}
FACTS = ("Node Type", "Index Name", "Actual Rows", "Rows Removed by Filter")
# with old statistics the window may be counted by way of the backlog: the table is analyzed often
CASES = [(age, name) for age in ("old", "new") for name in QUERIES]
CASES.remove(("old", "the window"))
# a list looks through all that is under way then, once for a thousand lines
CASES.remove(("old", "under way of a list"))
# what is being brought is looked for among all that waits for it then
CASES.remove(("old", "being brought"))
# all that ended are counted, once a minute: rows as short as these are read as fast as an index
CASES = [(age, name) for age, name in CASES if name != "ended"]
# of their table there are no statistics at all then
CASES.remove(("old", "notifications pending"))
CASES.remove(("old", "notifications given up"))
CASES.remove(("old", "next notification due"))
# what a person looks for may take a moment longer then
CASES = [case for case in CASES if case[0] == "new" or case[1] not in PAGES]
NOT_ON_SQLITE = {"end"}  # it calls a function of the database
# how SQLite names the index of a primary key, and the one by which it finds what has no export
SQLITE_NAMES = {
    "pk_exports": "sqlite_autoindex_exports_1",
    "ix_requests_without_export": "ix_requests_",
}


@pytest.mark.parametrize("name", [name for name in QUERIES if name not in NOT_ON_SQLITE])
def test_on_sqlite_a_query_is_a_search_of_its_index(tmp_path: Path, name: str) -> None:
    index, query = QUERIES[name]
    url = f"sqlite:///{tmp_path}/exports.db"
    migrations.upgrade(url)
    with explained(url, "EXPLAIN QUERY PLAN") as (session, plans):
        query(session)
    assert len(plans) == (2 if name == "admit" else 1)
    plan = "\n".join(row[3] for rows in plans for row in rows)
    names = (SQLITE_NAMES.get(index, index), AS_GOOD.get(name, index))
    assert any(f"INDEX {each}" in plan for each in names)
    assert not re.search(r"SCAN (exports|requests|notifications)(?! USING)", plan)
    assert name in SORTED | PAGES or "TEMP B-TREE" not in plan


FILL = """
    INSERT INTO exports (id, account, asset, audio, priority, requester, state, state_since,
                         created_at, job_created_at, due_at, attempts, looks, polls)
    SELECT gen_random_uuid(), 'a', md5('{state}' || g), 'he-aac', g % 10, 'who-' || g % 7,
           '{state}', now() - g * interval '10 seconds', now(), now() - g * interval '10 seconds',
           {due_at}, 0, 0, 0
    FROM generate_series(1, {number}) g
"""
AROUND = (
    """
    INSERT INTO turns (account, requester, served)
    SELECT 'a', 'who-' || g, g FROM generate_series(1, 40) g
    """,
    """
    INSERT INTO requests (id, export_id, priority, metadata, created_at)
    SELECT id::text, id, 0, '{}', state_since FROM exports LIMIT 50000
    """,
    """
    INSERT INTO history (export_id, at, to_state, reason)
    SELECT id, now(), 'requested', '' FROM exports LIMIT 50000
    """,
)
# What comes with the backlog, and is in no statistics either.
BESIDE = (
    """
    UPDATE exports SET job_id = id::text, job_delete_at = state_since + interval '1 day'
    WHERE state_since > now() - interval '9 days'
    """,
    """
    INSERT INTO exports (id, account, asset, audio, priority, requester, state, error_code,
                         state_since, created_at, attempts, looks, polls)
    SELECT gen_random_uuid(), 'a', md5('x' || g), 'he-aac', 0, '',
           CASE WHEN g % 2 = 0 THEN 'failed' ELSE 'cancelled' END, 'b',
           now() - g * interval '5 minutes', now(), 0, 0, 0
    FROM generate_series(1, 30000) g
    """,
    """
    INSERT INTO requests (id, priority, metadata, created_at)
    SELECT 'refused-' || g, 0, '{}', now() - g * interval '1 hour' FROM generate_series(1, 3000) g
    """,
    """
    INSERT INTO notifications (id, request_id, channel, receiver, type, payload, created_at, due_at,
                               attempts)
    SELECT gen_random_uuid(), id, 'task', CASE WHEN random() < 0.5 THEN 'r' ELSE 's' END,
           'export.stored', '{}', now(),
           CASE WHEN random() < 0.01 THEN now() - interval '1 hour' END, 0
    FROM requests
    """,
    """
    INSERT INTO requests (id, export_id, priority, metadata, created_at)
    SELECT id::text, id, 0, '{}', state_since FROM exports
    WHERE state IN ('failed', 'cancelled')
    """,
)
BACKLOG = {
    State.REQUESTED: (40_000, "now() - g * interval '1 second'"),
    State.EXPORTING: (9_000, "now() + (g - 500) * interval '1 second'"),
    State.DOWNLOADING: (5_000, "now() + (g - 4500) * interval '1 second'"),
}
FAILED = 30_000  # as BESIDE has them
# A query reads 50 rows at the most, but for these.
MOST_ROWS = {
    "how many stored": finding.MOST_COUNTED + 1,
    **dict.fromkeys(("found by asset", "requests found by asset"), FAILED),
    "the window": BACKLOG[State.EXPORTING][0],
    "count due": 500,
    "the newest due that is older": 500,
    "how many are between": 500,
    "of a page": 100,
    "when a page is due": 100,
    "when a part is due": 10_000,
    "stored of a list": 500,
    "under way of a list": 500,
    "stored lately": 1000,
    "to be told": 1000,  # all that is due
    # as often as each was written
    "under way": 2 * sum(number for number, _ in BACKLOG.values()),
    "bytes stored lately": 1000,
    "being brought": 500,
    "the last stored": 200,
    "notifications pending": 2000,
}
# What failed and was cancelled is looked through for an asset: no index tells of it.
MOST_REMOVED = {"found by asset": FAILED, "requests found by asset": FAILED}
# Their places in Uplynk's list are counted among all that is under way.
MOST_REMOVED["how many are between"] = 9_000
# These sort the little that they find: to lock it in one order, to sum it up, to show the newest
# first, or as so little is due.
SORTED = {
    *("under way of a list", "to be told"),
    *("failed lately", "time in each state", "under way", "the window, and whose turns they are"),
    *("found by asset", "requests found by asset"),
}
# These count all that is in an index, whose columns after the first are of no use to them.
AS_GOOD = {
    "under way": "uq_exports_under_way",
    "ended": "ix_exports_of_asset",
}
# These may read what they find in whatever order it lies.
ORDERLESS = {
    *("of a page", "stored of a list", "old stored", "old without a file"),
    *("to be told", "next to be told"),
    *("under way", "time in each state", "notifications pending"),
    *("found by asset", "requests found by asset"),
}

# A few rows are read as fast as an index of them.
SMALL = {
    "the window, and whose turn it is": {"pauses"},
    "the window, and whose turns they are": {"pauses", "turns"},
    "admit": {"turns"},
}
# What these count beside all else is looked at by itself: see "the window".
COUNTING = {"the window, and whose turn it is", "the window, and whose turns they are"}

Plans = dict[tuple[str, str], list[Any]]


def made_plans() -> Plans:
    server = os.environ["TEST_DATABASE_URL"]
    name = f"crowded_{uuid4().hex}"
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            migrations.upgrade(url)
            return dict(planned(url))
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def planned(url: str) -> Iterator[tuple[tuple[str, str], list[Any]]]:
    """Fill the database, and explain each query before and after the statistics are renewed."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE exports SET (autovacuum_enabled = false)")
        fill(connection, State.STORED, 950_000, "NULL")
        for statement in AROUND:
            connection.execute(statement)
        connection.execute("ANALYZE")
        for state, (number, due_at) in BACKLOG.items():
            fill(connection, state, number, due_at)
        for statement in BESIDE:
            connection.execute(statement)
        yield from ((("old", name), explain(url, name)) for name in QUERIES)
        connection.execute("ANALYZE")
        yield from ((("new", name), explain(url, name)) for name in QUERIES)


def fill(connection: psycopg.Connection, state: State, number: int, due_at: str) -> None:
    connection.execute(FILL.format(state=state, number=number, due_at=due_at).encode())


def explain(url: str, name: str) -> list[Any]:
    with explained(url, "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON)") as (session, plans):
        QUERIES[name][1](session)
    [plan] = plans
    return plan


def nodes(plan: dict[str, Any], *, without: str | None = None) -> Iterator[dict[str, Any]]:
    if plan["Node Type"] == without:
        return
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part, without=without)


@pytest.mark.services
@pytest.mark.timeout(300)
def test_among_a_million_exports_a_query_reads_only_what_it_needs() -> None:
    # one test: of several, each process would wait for the million that another is just making
    plans = made_plans()
    for statistics, name in CASES:
        _check_plan(plans, statistics, name)


def _check_plan(plans: Plans, statistics: str, name: str) -> None:
    [[[told]]] = plans[statistics, name]
    steps = list(nodes(told["Plan"], without="Aggregate" if name in COUNTING else None))
    shown = [[statistics, name], *([step.get(fact) for fact in FACTS] for step in steps)]
    names = {QUERIES[name][0], AS_GOOD.get(name, QUERIES[name][0])}
    assert names & {step.get("Index Name") for step in steps}, shown
    whole = {"Seq Scan"} if name in ORDERLESS else {"Seq Scan", "Bitmap Heap Scan"}
    large = [step for step in steps if step.get("Relation Name") not in SMALL.get(name, ())]
    assert not whole & {step["Node Type"] for step in large}, shown
    sorts = [step for step in steps if step["Node Type"].endswith("Sort")]
    if name in PAGES:
        assert all(part["Actual Rows"] <= 50 for step in sorts for part in step["Plans"]), shown
    elif name not in SORTED:
        assert all(part["Actual Rows"] <= 1 for step in sorts for part in step["Plans"]), shown
    removed = sum(step.get("Rows Removed by Filter", 0) for step in steps)
    assert removed <= MOST_REMOVED.get(name, 1000), shown
    most = MOST_ROWS.get(name, 50)
    assert all(step["Actual Rows"] <= most for step in steps), shown
