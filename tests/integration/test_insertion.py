"""Insertion: rows that are inserted together are as those that are inserted one by one."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from models import Audio, Base, Export, History, Request, State
from models.export import beginning_of, row_of
from models.insertion import insert_many, insert_together
from tests.factories import ACCOUNT, an_asset

Sessions = sessionmaker[Session]

NOW = datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)
METADATA: list[Any] = [
    None,
    {},
    {"title": 'Zwölf Uhr ☂ "{},\\NULL', "numbers": [1, 2.5, None]},
    {"a": {"b": []}},
]


def requests(*, fresh: bool) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{fresh}-{number}",
            "asset": "a" * 32,
            "audio": Audio.AAC_LC if number % 2 else None,
            "priority": -number,
            "requester": ["", "news, room", "NULL", '{"x"}'][number],
            "created_at": NOW,
            "metadata_": metadata,
            "callback_task": "cms.done" if number else None,
        }
        for number, metadata in enumerate(METADATA)
    ]


def table(session: Session, of: type[Base], *, without: set[str]) -> list[dict[str, Any]]:
    names = [each.name for each in of.__table__.columns if each.name not in without]
    rows = session.execute(select(*(of.__table__.c[name] for name in names)).order_by(*names[:1]))
    return [dict(row) for row in rows.mappings()]


def test_each_value_arrives_as_it_was_and_the_others_have_their_defaults(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        insert_many(session, Request, requests(fresh=True))
        session.execute(insert(Request), requests(fresh=False))
        rows = table(session, Request, without={"id"})
        both = [sorted(map(repr, some)) for some in (rows[: len(METADATA)], rows[len(METADATA) :])]
        told = session.scalars(
            select(Request.metadata_).where(Request.id.like("True%")).order_by(Request.id)
        ).all()
    assert both[0] == both[1]
    assert told == METADATA


def test_an_export_is_as_it_was_begun(sessions: Sessions) -> None:
    begun = [
        Export.begun(account=ACCOUNT, asset=an_asset(), audio=audio, priority=3, now=NOW)
        for audio in Audio
    ]
    with sessions.begin() as session:
        insert_many(session, Export, [row_of(each) for each in begun])
        insert_many(session, History, [beginning_of(each) for each in begun])
    with sessions.begin() as session:
        for each in begun:
            there = session.get_one(Export, each.id)
            assert (there.asset, there.audio, there.due_at) == (each.asset, each.audio, NOW)
            assert (there.attempts, there.looks, there.polls, there.claim) == (0, 0, 0, None)
            [first] = session.scalars(there.history.select())
            assert (first.from_state, first.to_state, first.at) == (None, State.REQUESTED, NOW)


def test_none_of_them_is_there_if_one_can_not_be(sessions: Sessions) -> None:
    rows = [
        row_of(Export.begun(account=ACCOUNT, asset=asset, audio=Audio.HE_AAC, priority=0, now=NOW))
        for asset in ("a" * 32, "b" * 32, "a" * 32)
    ]
    with pytest.raises(IntegrityError), sessions.begin() as session:
        insert_many(session, Export, rows)
    with sessions.begin() as session:
        assert session.scalars(select(Export)).all() == []


def test_of_none_nothing_is_inserted(sessions: Sessions) -> None:
    with sessions.begin() as session:
        insert_many(session, Request, [])
        assert session.scalars(select(Request)).all() == []


def test_rows_of_other_attributes_have_their_own_defaults(sessions: Sessions) -> None:
    first, second, *_ = requests(fresh=True)
    del second["priority"]
    second["callback_queue"] = "cms"
    with sessions.begin() as session:
        insert_many(session, Request, [first, second])
    with sessions.begin() as session:
        there = session.get_one(Request, second["id"])
        assert (there.priority, there.callback_queue, there.metadata_) == (0, "cms", {})
        assert session.get_one(Request, first["id"]).callback_queue is None


def together(asset: str) -> tuple[Export, list[tuple[type[Base], dict[str, Any]]]]:
    export = Export.begun(account=ACCOUNT, asset=asset, audio=Audio.AAC_LC, priority=3, now=NOW)
    request = {"id": f"of {asset}", "export_id": export.id, "created_at": NOW}
    return export, [
        (Export, row_of(export)),
        (History, beginning_of(export)),
        (Request, request),
    ]


def test_rows_of_some_tables_come_together_with_their_defaults(sessions: Sessions) -> None:
    (first, rows), (second, others) = together("a" * 32), together("b" * 32)
    others[-1][1]["metadata_"] = METADATA[2]
    with sessions.begin() as session:
        insert_together(session, *rows)
        insert_together(session, *others)
    with sessions.begin() as session:
        for export in (first, second):
            there = session.get_one(Export, export.id)
            assert (there.asset, there.audio, there.due_at) == (export.asset, Audio.AAC_LC, NOW)
            assert (there.attempts, there.looks, there.polls, there.renewals) == (0, 0, 0, 0)
            [begun] = session.scalars(there.history.select())
            assert (begun.from_state, begun.to_state, begun.at) == (None, State.REQUESTED, NOW)
        plain, titled = (session.get_one(Request, f"of {each * 32}") for each in "ab")
        assert (plain.export_id, plain.priority, plain.requester) == (first.id, 0, "")
        assert (plain.metadata_, titled.metadata_) == ({}, METADATA[2])


def test_a_row_that_comes_with_others_is_as_one_that_comes_alone(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for number, asset in enumerate(("a" * 32, "b" * 32)):
            _, rows = together(asset)
            if number:
                insert_together(session, *rows)
            else:
                for of, values in rows:
                    session.execute(insert(of), [values])
        for of in (Export, History, Request):
            alone, other = table(session, of, without={"id", "asset", "export_id"})
            assert alone == other


def test_of_rows_that_come_together_none_is_there_if_one_can_not_be(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.add(Request(id="of " + "a" * 32, created_at=NOW))
    with pytest.raises(IntegrityError), sessions.begin() as session:
        insert_together(session, *together("a" * 32)[1])
    with sessions.begin() as session:
        assert session.scalars(select(Export)).all() == []
        assert session.scalars(select(History)).all() == []
