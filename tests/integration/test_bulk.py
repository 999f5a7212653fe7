"""Bulk: what is set down together is as if each had come by itself, and nothing comes twice."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from models import Audio, Export, History, Request, State, Turn
from tests.factories import ACCOUNT, admit_next, an_asset, make_export
from worker import batches
from worker.errors import InvalidRequest
from worker.steps import Kit, bulk, cancel, create
from worker.steps.bulk import Batchful, Entry, Outcome
from worker.steps.wish import read

Sessions = sessionmaker[Session]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BATCH = Batchful(ACCOUNT, "archive")


def entry(request_id: str, asset: str | None = None, **arguments: object) -> Entry:
    return Entry(request_id, read({"asset": asset or an_asset(), **arguments}))


def record(sessions: Sessions, *entries: Entry, where: Batchful = BATCH) -> list[Outcome]:
    foreseen = look(sessions, *entries, where=where)
    outcomes = bulk.record(sessions, where, entries, now=NOW)
    assert outcomes == foreseen
    return outcomes


def look(sessions: Sessions, *entries: Entry, where: Batchful = BATCH) -> list[Outcome]:
    with sessions.begin() as session:
        return bulk.look(session, where, entries)


@contextmanager
def requested(sessions: Sessions, request_id: str) -> Iterator[tuple[Request, Export]]:
    with sessions.begin() as session:
        request = session.get_one(Request, request_id)
        assert request.export is not None
        yield request, request.export


def count(sessions: Sessions, table: type) -> int:
    with sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_request_of_a_list_is_as_one_that_came_by_itself(kit: Kit) -> None:
    arguments = {
        "aaclc": True,
        "priority": 3,
        "requester": "news",
        "metadata": {"article": 4711},
        "callback": {"task": "cms.done", "queue": "cms"},
        "webhook_url": "https://cms.example/hook",
    }
    record(kit.sessions, Entry("bulk", read({"asset": an_asset(), **arguments})))
    create(kit, "alone", {"asset": an_asset(), **arguments})
    with requested(kit.sessions, "bulk") as (request, export):
        together = {**vars(request), **vars(export)}
    with requested(kit.sessions, "alone") as (request, export):
        alone = {**vars(request), **vars(export)}
    own = {"id", "asset", "created_at", "state_since", "due_at", "export_id", "export", "batch"}
    own |= {"_sa_instance_state"}
    assert {name: together[name] for name in together.keys() - own} == {
        name: alone[name] for name in alone.keys() - own
    }
    assert (together["batch"], together["state_since"]) == ("archive", NOW)
    with kit.sessions.begin() as session:
        rows = session.scalars(select(History).order_by(History.id)).all()
        assert len({(row.from_state, row.to_state, row.reason) for row in rows}) == 1
        assert session.get(Turn, (ACCOUNT, "news")) is not None


def test_the_same_list_again_adds_nothing(sessions: Sessions) -> None:
    entries = [entry(str(number)) for number in range(20)]
    assert set(record(sessions, *entries)) == {Outcome.NEW}
    assert set(record(sessions, *entries)) == {Outcome.KNOWN}
    more = entry("more")
    assert record(sessions, *entries[:3], more)[-1] is Outcome.NEW
    assert (count(sessions, Request), count(sessions, Export)) == (21, 21)
    assert count(sessions, History) == 21


def test_an_export_that_is_under_way_is_shared(kit: Kit) -> None:
    asset = an_asset()
    create(kit, "alone", {"asset": asset, "requester": "news"})
    twice = [
        entry("r1", asset, requester="archive", priority=4),
        entry("r2", asset),
        entry("r3", asset, aaclc=True),
    ]
    outcomes = record(kit.sessions, *twice)
    assert outcomes == [Outcome.SHARED, Outcome.SHARED, Outcome.NEW]
    with requested(kit.sessions, "r1") as (_, export):
        assert (export.priority, export.requester) == (4, "archive")
    with requested(kit.sessions, "alone") as (_, shared):
        assert shared.id == export.id
    assert count(kit.sessions, Export) == 2


def test_two_lines_of_one_asset_share_an_export_of_the_higher_priority(sessions: Sessions) -> None:
    asset = an_asset()
    first, second = entry("r1", asset), entry("r2", asset, priority=9, requester="news")
    assert record(sessions, first, second) == [Outcome.NEW, Outcome.SHARED]
    with requested(sessions, "r1") as (_, export):
        assert (export.priority, export.requester) == (9, "news")
    assert count(sessions, Export) == 1


def test_what_nobody_wanted_any_more_is_wanted_again(kit: Kit) -> None:
    asset = an_asset()
    made = make_export(
        kit.sessions, state=State.EXPORTING, asset=asset, job_id="j", unwanted_since=NOW
    )
    assert record(kit.sessions, entry("r1", asset)) == [Outcome.SHARED]
    with requested(kit.sessions, "r1") as (_, export):
        assert (export.id, export.unwanted_since) == (made.id, None)


def test_what_is_stored_already_is_not_paid_for_again(sessions: Sessions) -> None:
    asset = an_asset()
    old, new = (
        make_export(sessions, state=State.STORED, asset=asset, due_at=None, state_since=since)
        for since in (NOW - timedelta(days=2), NOW - timedelta(days=1))
    )
    other = make_export(sessions, state=State.STORED, asset=asset, due_at=None, account="f" * 32)
    lines = [entry("r1", asset), entry("r2", asset, aaclc=True)]
    assert record(sessions, *lines) == [Outcome.STORED, Outcome.NEW]
    with requested(sessions, "r1") as (request, export):
        assert (export.id, request.state) == (new.id, State.STORED)
    again = Batchful(ACCOUNT, "once more", since=NOW)
    for stored in (old, new, other):
        with sessions.begin() as session:
            session.get_one(Export, stored.id).created_at = NOW - timedelta(days=3)
    assert record(sessions, entry("r3", asset), where=again) == [Outcome.NEW]
    with requested(sessions, "r3") as (_, export):
        assert export.id not in {old.id, new.id, other.id}
        export.state, export.due_at = State.STORED, None
    # a later line of the same list
    assert record(sessions, entry("r4", asset), where=again) == [Outcome.STORED]


def test_what_failed_before_is_exported(sessions: Sessions) -> None:
    asset = an_asset()
    make_export(sessions, state=State.FAILED, asset=asset, due_at=None)
    assert record(sessions, entry("r1", asset)) == [Outcome.NEW]


def test_an_id_of_another_wish_is_told_and_changes_nothing(kit: Kit) -> None:
    asset = an_asset()
    create(kit, "r1", {"asset": asset})
    outcomes = record(kit.sessions, entry("r1"), entry("r1b"), entry("r2", asset))
    assert outcomes == [Outcome.CLASH, Outcome.NEW, Outcome.SHARED]
    with requested(kit.sessions, "r1") as (request, _):
        assert (request.asset, request.batch) == (asset, None)


def test_what_was_refused_or_withdrawn_is_known(kit: Kit) -> None:
    asset = an_asset()
    with pytest.raises(InvalidRequest):
        create(kit, "bad", {"asset": "nonsense"})
    create(kit, "gone", {"asset": asset})
    cancel(kit.sessions, "gone", now=kit.now())
    outcomes = record(kit.sessions, entry("bad"), entry("gone", asset))
    assert outcomes == [Outcome.CLASH, Outcome.ELSEWHERE]


def test_a_request_of_another_batch_is_told_apart(sessions: Sessions) -> None:
    asset = an_asset()
    record(sessions, entry("r1", asset))
    other = Batchful(ACCOUNT, "another")
    assert record(sessions, entry("r1", asset), where=other) == [Outcome.ELSEWHERE]
    assert record(sessions, entry("r1", asset)) == [Outcome.KNOWN]


def test_they_are_asked_for_in_the_order_of_the_list(sessions: Sessions) -> None:
    entries = [entry(f"r{number}") for number in range(30)]
    record(sessions, *entries)
    asked = []
    with sessions.begin() as session:
        while exports := admit_next(session, now=NOW + timedelta(seconds=1)):
            asked += [export.asset for export in exports]
    assert asked == [each.wish.asset for each in entries]


def test_a_list_that_is_sent_by_two_at_once_is_one(sessions: Sessions) -> None:
    entries = [entry(f"r{number}") for number in range(300)]
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(
            threads.map(
                lambda order: bulk.record(sessions, BATCH, order, now=NOW),
                [entries, entries[::-1], entries, entries[::-1]],
            )
        )
    for request in range(300):
        each = [o[request if way % 2 == 0 else 299 - request] for way, o in enumerate(outcomes)]
        assert sorted(each) == [Outcome.KNOWN] * 3 + [Outcome.NEW]
    assert (count(sessions, Request), count(sessions, Export)) == (300, 300)


def test_lists_of_the_same_assets_at_once_share_their_exports(sessions: Sessions) -> None:
    assets = [an_asset() for _ in range(200)]

    def send(name: str) -> list[Outcome]:
        entries = [entry(f"{name}/{asset}", asset) for asset in assets]
        if name > "b":
            entries.reverse()
        return bulk.record(sessions, Batchful(ACCOUNT, name), entries, now=NOW)

    with ThreadPoolExecutor(4) as threads:
        outcomes = [one for some in threads.map(send, "abcd") for one in some]
    assert outcomes.count(Outcome.NEW) == 200
    assert outcomes.count(Outcome.SHARED) == 600
    assert (count(sessions, Request), count(sessions, Export)) == (800, 200)


def test_a_list_and_messages_at_once_share_their_exports(kit: Kit) -> None:
    assets = [an_asset() for _ in range(200)]
    entries = [entry(f"bulk/{asset}", asset) for asset in assets]
    with ThreadPoolExecutor(3) as threads:
        sent = threads.submit(bulk.record, kit.sessions, BATCH, entries, now=NOW)
        alone = [
            threads.submit(create, kit, f"alone/{asset}", {"asset": asset})
            for asset in reversed(assets)
        ]
        assert len(sent.result()) == 200
        for each in alone:
            each.result()
    assert (count(kit.sessions, Request), count(kit.sessions, Export)) == (400, 200)


def test_a_batch_is_summed_up(sessions: Sessions) -> None:
    bulk.open_batch(sessions, "archive", account=ACCOUNT, now=NOW - timedelta(days=1))
    entries = [entry(f"r{number}") for number in range(8)]
    record(sessions, *entries)
    record(sessions, entry("other"), where=Batchful(ACCOUNT, "another"))
    for number in range(4):
        with requested(sessions, f"r{number}") as (_, export):
            export.state, export.due_at = State.STORED, None
            export.state_since = NOW - timedelta(minutes=30 if number else 90)
            export.size_bytes, export.duration_seconds = 1000, 2.5
    with requested(sessions, "r4") as (_, export):
        export.fail("export_error", "no", now=NOW)
    with requested(sessions, "r5") as (request, _):
        request.cancelled_at = NOW
    with sessions.begin() as session:
        [batch] = batches.every(session)
        assert batch.name == "archive"
        totals = batches.totals(session, batch, now=NOW)
    assert totals.states == {
        State.STORED: 4,
        State.FAILED: 1,
        State.CANCELLED: 1,
        State.REQUESTED: 2,
    }
    assert (totals.requests, totals.left, totals.stored) == (8, 2, 4)
    assert totals.codes == {"export_error": 1}
    assert (totals.size_bytes, totals.seconds) == (4000, 10.0)
    assert totals.time_left == timedelta(minutes=20)  # three in half an hour
    values = list(batches.manifest(sessions, "archive"))
    assert [row["request_id"] for row in values] == [f"r{number}" for number in range(8)]
    row = dict(zip(batches.COLUMNS, batches.cells(values[4]), strict=True))
    assert (row["state"], row["error_code"], row["error_message"]) == (
        "failed",
        "export_error",
        "no",
    )
    assert json.loads(str(row["metadata"])) == {}


def test_a_batch_has_the_time_of_its_first_list(sessions: Sessions) -> None:
    first = bulk.open_batch(sessions, "archive", account=ACCOUNT, now=NOW)
    again = bulk.open_batch(sessions, "archive", account="f" * 32, now=NOW + timedelta(days=1))
    assert (again.created_at, again.account) == (first.created_at, ACCOUNT)


def test_a_manifest_is_whole_however_many_there_are(sessions: Sessions) -> None:
    entries = [entry(f"r{number:04}", metadata={"n": number}) for number in range(1000)]
    record(sessions, *entries)
    record(sessions, *(entry(f"s{number:04}", aaclc=True) for number in range(700)))
    ids = [row["request_id"] for row in batches.manifest(sessions, "archive")]
    assert len(ids) == len(set(ids)) == 1700
    assert {row["audio"] for row in batches.manifest(sessions, "archive")} == {
        Audio.HE_AAC,
        Audio.AAC_LC,
    }
