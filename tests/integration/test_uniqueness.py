"""Uniqueness: what the tables refuse, so that no race can bring it about."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import combinations_with_replacement

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from models import Audio, Channel, Export, History, Notification, Request, State
from models.state import TERMINAL, UNDER_WAY
from tests.factories import ASSET, make_export

Sessions = sessionmaker[Session]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Expect that a constraint or an index refuses; `what` is in the message."""
    with pytest.raises(IntegrityError, match=what):
        yield


def end(sessions: Sessions, export: Export, state: State) -> None:
    with sessions.begin() as session:
        session.execute(update(Export).values(state=state, due_at=None).filter_by(id=export.id))


@pytest.mark.parametrize(
    ("first", "second"), list(combinations_with_replacement(sorted(UNDER_WAY), 2))
)
def test_one_export_of_an_asset_is_under_way(
    sessions: Sessions, first: State, second: State
) -> None:
    make_export(sessions, state=first, asset=ASSET)
    with refused("under_way|exports.account, exports.asset, exports.audio"):
        make_export(sessions, state=second, asset=ASSET)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_another_is_allowed_once_the_first_has_ended(sessions: Sessions, state: State) -> None:
    first = make_export(sessions, state=State.DOWNLOADING, asset=ASSET)
    end(sessions, first, state)
    make_export(sessions, state=State.REQUESTED, asset=ASSET)
    for _ in range(2):
        make_export(sessions, state=state, asset=ASSET, due_at=None)


def test_another_account_or_codec_is_another_export(sessions: Sessions) -> None:
    make_export(sessions, state=State.REQUESTED, asset=ASSET)
    make_export(sessions, state=State.REQUESTED, asset=ASSET, audio=Audio.AAC_LC)
    make_export(sessions, state=State.REQUESTED, asset=ASSET, account="f" * 32)


def test_of_two_that_begin_the_same_at_once_one_does(sessions: Sessions) -> None:
    barrier, outcomes = threading.Barrier(2), list[str]()

    def begin() -> None:
        barrier.wait(10)
        try:
            make_export(sessions, state=State.REQUESTED, asset=ASSET)
            outcomes.append("begun")
        except IntegrityError:
            outcomes.append("refused")

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == ["begun", "refused"]


def test_no_two_exports_have_the_same_job(sessions: Sessions) -> None:
    make_export(sessions, state=State.STORED, job_id="j1", due_at=None)
    with refused("job_id"):
        make_export(sessions, state=State.EXPORTING, job_id="j1")
    for _ in range(2):
        make_export(sessions, state=State.REQUESTED, job_id=None)


@pytest.mark.parametrize("state", sorted(UNDER_WAY))
def test_an_export_under_way_is_never_without_a_time(sessions: Sessions, state: State) -> None:
    with refused("ck_exports_never_forgotten"):
        make_export(sessions, state=state, due_at=None)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("exports", "state"),
        ("exports", "audio"),
        ("exports", "captions"),
        ("history", "from_state"),
        ("history", "to_state"),
        ("requests", "audio"),
        ("notifications", "channel"),
    ],
)
def test_a_column_holds_its_words_and_no_other(sessions: Sessions, table: str, column: str) -> None:
    make_all(sessions)
    with refused(f"ck_{table}_{column}"), sessions.begin() as session:
        session.execute(text(f"UPDATE {table} SET {column} = 'nonsense'"))  # noqa: S608  (names above)


def make_all(sessions: Sessions) -> Export:
    """Make an export with a row of history, a request for it and a notification of that."""
    export = Export.requested(account="a", asset=ASSET, audio=Audio.HE_AAC, priority=0, now=NOW)
    request = Request(id="r1", asset=ASSET, audio=Audio.HE_AAC, export=export, created_at=NOW)
    with sessions.begin() as session:
        session.add(request)
        session.flush()
        session.add(
            Notification(
                request_id="r1",
                channel=Channel.TASK,
                type="export.stored",
                payload={},
                created_at=NOW,
                due_at=NOW + timedelta(seconds=1),
            )
        )
    return export


def test_an_export_that_is_asked_for_can_not_be_deleted(sessions: Sessions) -> None:
    export = make_all(sessions)
    with refused("(?i)foreign key"), sessions.begin() as session:
        session.execute(delete(Export).filter_by(id=export.id))


def test_history_and_notifications_go_with_what_they_tell_of(sessions: Sessions) -> None:
    export = make_all(sessions)
    with sessions.begin() as session:
        session.delete(session.get_one(Request, "r1"))
    with sessions.begin() as session:
        session.delete(session.get_one(Export, export.id))
    with sessions.begin() as session:
        for noun in (Request, Export, History, Notification):
            assert session.scalar(select(func.count()).select_from(noun)) == 0


def test_no_row_refers_to_nothing(sessions: Sessions) -> None:
    stray = History(
        export_id=Export.requested(
            account="a", asset="b", audio=Audio.HE_AAC, priority=0, now=NOW
        ).id,
        at=NOW,
        to_state=State.REQUESTED,
        reason="",
    )
    with refused("(?i)foreign key"), sessions.begin() as session:
        session.add(stray)


def test_metadata_comes_back_as_it_was_sent(sessions: Sessions) -> None:
    sent = {"article": 4711, "tags": ["ä", None, 1.5, True], "nested": {"a": {}}}
    with sessions.begin() as session:
        session.add(Request(id="r1", metadata_=sent, created_at=NOW))
        session.add(Request(id="r2", created_at=NOW))
    with sessions.begin() as session:
        assert session.get_one(Request, "r1").metadata_ == sent
        assert session.get_one(Request, "r2").metadata_ == {}


def test_history_is_counted_up_in_the_order_of_what_happened(sessions: Sessions) -> None:
    export = make_all(sessions)
    with sessions.begin() as session:
        known = session.get_one(Export, export.id)
        known.advance(State.SUBMITTING, now=NOW, reason="1")
        session.flush()
        known.advance(State.REQUESTED, now=NOW, reason="2")
    with sessions.begin() as session:
        rows = session.scalars(session.get_one(Export, export.id).history.select()).all()
        assert [row.to_state for row in rows] == [
            State.REQUESTED,
            State.SUBMITTING,
            State.REQUESTED,
        ]
