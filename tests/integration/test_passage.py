"""Passage: what one statement does is what loading, advancing and writing the row would do."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import String, cast, func, insert, inspect, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from models import Channel, Export, History, Notification, Request, State, passage
from models.outbox import waiting
from models.state import TransitionError
from tests.engines import blocked, sent
from tests.factories import make_export
from tests.waiting import wait_until

Sessions = sessionmaker[Session]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNTIL = NOW + timedelta(minutes=2)
LATER = NOW + timedelta(minutes=5)
NEW = {"job_id": "j", "job_state": "assigned", "job_created_at": NOW, "bytes_per_second": None}
CREATED_AT = NOW - timedelta(hours=1)


def claimed(sessions: Sessions, state: State = State.SUBMITTING, **members: Any) -> Export:
    """Return an export that failed before, and is just in this worker's hands."""
    values = {
        "claim": uuid4(),
        "claimed_until": UNTIL,
        "due_at": UNTIL,
        "attempts": 3,
        "failing_since": CREATED_AT,
        "created_at": CREATED_AT,
        "state_since": CREATED_AT,
        "bytes_per_second": 5.0,
    }
    return make_export(sessions, state=state, **{**values, **members})


def passed(sessions: Sessions, export: Export, target: State, **members: Any) -> bool:
    values = {"now": NOW, "reason": "a test's", "due_at": LATER, "values": NEW, **members}
    with sessions.begin() as session:
        return passage.pass_on(session, export, target, **values)


def row(sessions: Sessions, export_id: UUID) -> dict[str, Any]:
    with sessions.begin() as session:
        export = session.get_one(Export, export_id)
        return {each.key: getattr(export, each.key) for each in inspect(Export).column_attrs}


def history(sessions: Sessions, export_id: UUID) -> list[tuple[Any, ...]]:
    columns = (History.at, History.from_state, History.to_state, History.reason)
    with sessions.begin() as session:
        rows = select(*columns).where(History.export_id == export_id).order_by(History.id)
        return [tuple(each) for each in session.execute(rows)]


def test_the_row_and_its_history_are_as_the_long_way_leaves_them(sessions: Sessions) -> None:
    long, short = claimed(sessions), claimed(sessions)
    with sessions.begin() as session:
        held = session.get_one(Export, long.id)
        held.advance(State.EXPORTING, now=NOW, reason="a test's")
        held.recovered()
        for name, value in {**NEW, "job_id": "another", "due_at": LATER}.items():
            setattr(held, name, value)
    assert passed(sessions, short, State.EXPORTING)
    own = {"id": short.id, "asset": short.asset, "job_id": "j"}
    assert row(sessions, short.id) == row(sessions, long.id) | own
    assert history(sessions, short.id) == history(sessions, long.id)
    assert history(sessions, short.id) == [(NOW, State.SUBMITTING, State.EXPORTING, "a test's")]


def test_who_lost_its_claim_writes_nothing(sessions: Sessions) -> None:
    export = claimed(sessions)
    with sessions.begin() as session:
        session.get_one(Export, export.id).claim = uuid4()
    before = row(sessions, export.id)
    assert not passed(sessions, export, State.EXPORTING)
    assert (row(sessions, export.id), history(sessions, export.id)) == (before, [])


def test_without_a_claim_nothing_is_held(sessions: Sessions) -> None:
    export = claimed(sessions, claim=None, claimed_until=None)
    before = row(sessions, export.id)
    assert not passed(sessions, export, State.EXPORTING)
    assert (row(sessions, export.id), history(sessions, export.id)) == (before, [])


@pytest.mark.parametrize("if_wanted", [True, False])
def test_what_nobody_wants_stays_as_it_is_only_where_that_is_asked_for(
    sessions: Sessions, *, if_wanted: bool
) -> None:
    export = claimed(sessions, unwanted_since=CREATED_AT)
    assert passed(sessions, export, State.EXPORTING, if_wanted=if_wanted) is not if_wanted
    state = State.SUBMITTING if if_wanted else State.EXPORTING
    assert row(sessions, export.id)["state"] is state
    assert len(history(sessions, export.id)) == (not if_wanted)


def test_no_way_is_taken_that_the_table_does_not_have(sessions: Sessions) -> None:
    export = claimed(sessions)
    with pytest.raises(TransitionError, match="from submitting to stored"):
        passed(sessions, export, State.STORED)


def test_a_job_of_another_export_is_an_error_and_leaves_no_history(sessions: Sessions) -> None:
    make_export(sessions, state=State.EXPORTING, job_id="j")
    export = claimed(sessions)
    with pytest.raises(IntegrityError):
        passed(sessions, export, State.EXPORTING)
    assert (row(sessions, export.id)["state"], history(sessions, export.id)) == ("submitting", [])


def test_an_end_is_told_with_it_or_not_at_all(sessions: Sessions) -> None:
    export = claimed(sessions, State.DOWNLOADING)
    asks = {"callback_task": "cms.done", "callback_queue": "cms"}
    with sessions.begin() as session:
        session.add(Request(id="r", export_id=export.id, created_at=CREATED_AT, **asks))
    values = {"size_bytes": 5, "storage_url": "file:///a.mp4"}
    end: dict[str, Any] = {"now": NOW, "reason": "", "due_at": None, "values": values}
    with sessions() as session:  # and the worker dies before the commit
        assert passage.pass_on(session, export, State.STORED, **end)
    assert told(sessions) == []
    # the transaction is made again, with the export as it was claimed
    assert passed(sessions, export, State.STORED, **end)
    assert not passed(sessions, export, State.STORED, **end)
    [notification] = told(sessions)
    assert (notification.type, notification.channel) == ("export.stored", Channel.TASK)
    assert (notification.created_at, notification.payload["data"]["size_bytes"]) == (NOW, 5)
    assert row(sessions, export.id)["due_at"] is None


def test_an_end_is_told_also_where_the_session_had_the_export_before(sessions: Sessions) -> None:
    export = claimed(sessions, State.DOWNLOADING)
    asks = {"callback_task": "cms.done", "callback_queue": "cms"}
    with sessions.begin() as session:
        session.add(Request(id="r", export_id=export.id, created_at=CREATED_AT, **asks))
    with sessions.begin() as session:
        had = session.get_one(Export, export.id)
        passage.pass_on(
            session,
            export,
            State.STORED,
            now=NOW,
            reason="",
            due_at=None,
            values={"storage_url": "file:///a.mp4"},
        )
    [notification] = told(sessions)
    assert notification.payload["data"]["storage_url"] == "file:///a.mp4"
    assert had.state is State.STORED


def together(
    sessions: Sessions,
    told: dict[UUID, dict[str, Any]],
    target: State = State.DOWNLOADING,
    source: State = State.EXPORTING,
) -> None:
    with sessions.begin() as session:
        passage.pass_on_together(session, source, target, told, now=NOW, reason="a test's")


def test_several_go_on_each_with_what_is_its_own(sessions: Sessions) -> None:
    begun = {"job_state": "assigned", "polls": 1}
    exports = [claimed(sessions, State.EXPORTING, **begun) for _ in range(3)]
    long, short, other = exports
    told = {
        each.id: {"url": f"http://f.example/{number}.mp4", "done_at": CREATED_AT, "polls": number}
        for number, each in enumerate(exports)
    }
    values = told.pop(long.id)
    assert passed(sessions, long, State.DOWNLOADING, values=values, due_at=NOW)
    together(sessions, told)
    rows = {each.id: row(sessions, each.id) for each in exports}
    for each in (short, other):
        own = {"id": each.id, "asset": each.asset, **told[each.id]}
        assert rows[each.id] == rows[long.id] | own
        assert history(sessions, each.id) == history(sessions, long.id)
    together(sessions, {})


@pytest.mark.parametrize(
    ("source", "target"),
    [(State.EXPORTING, State.STORED), (State.EXPORTING, State.FAILED)],
)
def test_none_goes_where_there_is_no_way_or_an_end(
    sessions: Sessions, source: State, target: State
) -> None:
    export = claimed(sessions, source)
    with pytest.raises(TransitionError):
        together(sessions, {export.id: {}}, target, source)
    assert (row(sessions, export.id)["state"], history(sessions, export.id)) == (source, [])


END: dict[str, Any] = {
    "now": NOW,
    "reason": "it is whole",
    "values": {"size_bytes": 5, "storage_url": "file:///a.mp4", "bytes_per_second": None},
}
ASKS: list[tuple[dict[str, Any], bool]] = [
    ({}, False),
    ({"callback_task": "cms.done", "callback_queue": "cms"}, True),
    ({"webhook_url": "https://cms.example/hook"}, True),
    ({"webhook_url": "https://cms.example/hook", "cancelled_at": CREATED_AT}, False),
]


@pytest.mark.parametrize(("asks", "is_told"), ASKS)
def test_an_export_ends_as_the_long_way_ends_it_whoever_is_told(
    sessions: Sessions, asks: dict[str, Any], *, is_told: bool
) -> None:
    long, short = claimed(sessions, State.DOWNLOADING), claimed(sessions, State.DOWNLOADING)
    with sessions.begin() as session:
        session.add(Request(id="r", export_id=short.id, created_at=CREATED_AT, **asks))
    assert passed(sessions, long, State.STORED, **END, due_at=None)
    assert passage.end(sessions, short, State.STORED, **END)
    assert not passage.end(sessions, short, State.STORED, **END)
    assert row(sessions, short.id) == row(sessions, long.id) | {
        "id": short.id,
        "asset": short.asset,
    }
    assert history(sessions, short.id) == history(sessions, long.id)
    assert len(told(sessions)) == is_told


# What a request has that is to be told by each way.
TOLD_BY: dict[Channel, dict[str, Any]] = {
    Channel.TASK: {"callback_task": "cms.done", "callback_queue": "cms"},
    Channel.WEBHOOK: {"webhook_url": "https://cms.example/hook"},
}


@pytest.mark.services
@pytest.mark.parametrize("withdrawn", [False, True])
@pytest.mark.parametrize("number", range(len(Channel) + 1))
def test_the_database_and_the_outbox_agree_on_who_is_to_be_told(
    sessions: Sessions, number: int, *, withdrawn: bool
) -> None:
    assert TOLD_BY.keys() == set(Channel)
    for ways in combinations(Channel, number):
        export = claimed(sessions, State.DOWNLOADING)
        asks = {name: value for way in ways for name, value in TOLD_BY[way].items()}
        asks |= {"cancelled_at": CREATED_AT} if withdrawn else {}
        with sessions.begin() as session:
            session.add(Request(id=f"{ways}", export_id=export.id, created_at=CREATED_AT, **asks))
            session.flush()
            is_awaited = session.scalar(select(func.export_is_awaited(export.id)))
            assert is_awaited == bool(waiting(session, [export.id])) == bool(ways and not withdrawn)


@pytest.mark.services
def test_it_is_looked_up_in_an_index_however_small_the_table_was(sessions: Sessions) -> None:
    export = claimed(sessions, State.DOWNLOADING)
    with sessions.begin() as session:
        session.add(Request(id="r", export_id=export.id, created_at=CREATED_AT))
        session.flush()
        session.execute(text("ANALYZE requests"))
        for _ in range(10):  # after some PostgreSQL keeps the plan, if it may
            session.execute(select(func.export_is_awaited(export.id)))
        numbers = func.generate_series(1, 20_000).column_valued("n")
        made = select(cast(numbers, String), literal(CREATED_AT), literal(0), literal("{}", JSONB))
        names = ["id", "created_at", "priority", "metadata"]
        session.execute(insert(Request).from_select(names, made))
        scans = text("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'requests'")
        before = session.scalar(scans)
        session.execute(select(func.export_is_awaited(export.id)))
        assert session.scalar(scans) == before
        session.execute(text("SELECT count(*) FROM requests"))
        assert session.scalar(scans) > before  # else nothing was counted


def test_an_export_that_is_another_s_by_now_is_not_ended(sessions: Sessions) -> None:
    export = claimed(sessions, State.DOWNLOADING)
    with sessions.begin() as session:
        session.get_one(Export, export.id).claim = uuid4()
    before = row(sessions, export.id)
    assert not passage.end(sessions, export, State.STORED, **END)
    assert (row(sessions, export.id), history(sessions, export.id)) == (before, [])


@pytest.mark.services
@pytest.mark.parametrize("also_changes_it", [True, False])
def test_who_joins_an_export_as_it_ends_is_told(
    sessions: Sessions, *, also_changes_it: bool
) -> None:
    export = claimed(sessions, State.DOWNLOADING)
    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            held = session.get_one(Export, export.id, with_for_update=True)
            if also_changes_it:
                held.priority = 9
            ending = pool.submit(passage.end, sessions, export, State.STORED, **END)
            wait_until(lambda: blocked(sessions))
            asks = {"callback_task": "cms.done", "callback_queue": "cms"}
            session.add(Request(id="r", export_id=export.id, created_at=CREATED_AT, **asks))
        assert ending.result()
    [notification] = told(sessions)
    assert notification.type == "export.stored"
    assert row(sessions, export.id)["priority"] == (9 if also_changes_it else export.priority)


@pytest.mark.services
def test_where_nobody_is_to_be_told_it_is_one_statement(sessions: Sessions) -> None:
    export = claimed(sessions, State.DOWNLOADING)
    with sent(sessions) as statements:
        assert passage.end(sessions, export, State.STORED, **END)
    assert statements == [True]


def told(sessions: Sessions) -> list[Notification]:
    with sessions.begin() as session:
        return list(session.scalars(select(Notification)))
