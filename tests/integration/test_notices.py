"""Notices: what CMSs were told is listed by how far it has come, and is told again on demand."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from rich.cells import cell_len
from sqlalchemy.orm import Session, sessionmaker

from models import Channel, Notification, Request
from tests.factories import Clock
from worker import notices
from worker.notices import Stand

Sessions = sessionmaker[Session]


@pytest.fixture
def there(sessions: Sessions, clock: Clock) -> dict[Stand, UUID]:
    """Have a notification of each kind, an hour apart; gives their ids."""
    now = clock()
    members: dict[Stand, dict[str, Any]] = {
        Stand.PENDING: {"due_at": now + timedelta(minutes=5), "attempts": 2, "last_error": "no"},
        Stand.DELIVERED: {"due_at": None, "delivered_at": now, "attempts": 1},
        Stand.DEAD: {"due_at": None, "dead_at": now, "attempts": 8, "last_error": "HTTP 500"},
    }
    with sessions.begin() as session:
        session.add(Request(id="request", created_at=now))
        session.flush()
        made = {
            kind: Notification(
                request_id="request",
                channel=Channel.WEBHOOK,
                receiver="https://cms.example",
                type="export.stored",
                payload={"id": str(uuid4())},
                created_at=now - timedelta(hours=number),
                **values,
            )
            for number, (kind, values) in enumerate(members.items())
        }
        session.add_all(made.values())
    return {kind: each.id for kind, each in made.items()}


def test_they_are_listed_newest_first_and_by_how_they_stand(
    sessions: Sessions, there: dict[Stand, UUID]
) -> None:
    with sessions.begin() as session:
        every = notices.listed(session, stands=None, request_id=None, limit=9)
        assert [each.id for each in every] == list(there.values())
        for kind, name in there.items():
            [only] = notices.listed(session, stands=kind, request_id="request", limit=9)
            assert (only.id, notices.stand(only)) == (name, kind)
            assert notices.as_json(only)["state"] == kind
        assert not notices.listed(session, stands=None, request_id="another", limit=9)
        assert len(notices.listed(session, stands=None, request_id=None, limit=2)) == 2


def test_a_list_fits_a_terminal_and_says_what_went_wrong(
    sessions: Sessions, there: dict[Stand, UUID]
) -> None:
    with sessions.begin() as session:
        every = notices.listed(session, stands=None, request_id=None, limit=9)
        lines = list(notices.listing(every, width=80))
    assert any("attempt 8: HTTP 500" in line for line in lines)
    assert all(any(str(name) in line for line in lines) for name in there.values())


@pytest.mark.parametrize("width", [80, 60])
def test_a_list_fits_a_terminal_whatever_is_in_it(
    sessions: Sessions, clock: Clock, width: int
) -> None:
    name, why = "日\x1b[31m\n" + "x" * 140, "HTTP 500: \x1b[2J" + "very " * 40 + "sorry"
    with sessions.begin() as session:
        session.add(Request(id=name, created_at=clock()))
        session.flush()
        session.add(
            Notification(
                request_id=name,
                channel=Channel.WEBHOOK,
                receiver="https://" + "y" * 200,
                type="export.stored",
                payload={"id": str(uuid4())},
                created_at=clock(),
                due_at=clock(),
                attempts=1,
                last_error=why,
            )
        )
    with sessions.begin() as session:
        every = notices.listed(session, stands=None, request_id=None, limit=9)
        cut, whole = (list(notices.listing(every, width=room)) for room in (width, None))
    assert all(cell_len(line) <= width for line in cut)
    assert " ".join(cut).count("very") == 40
    assert len(whole) == 4
    assert "x" * 140 in whole[1]
    assert "y" * 200 in whole[2]
    assert "\x1b" not in "".join([*cut, *whole])


def test_those_that_are_named_are_told_again_with_all_their_tries(
    sessions: Sessions, clock: Clock, there: dict[Stand, UUID]
) -> None:
    with sessions.begin() as session:
        ended = {there[Stand.DEAD], there[Stand.DELIVERED]}
        assert notices.replay(session, [*ended, uuid4()], now=clock()) == ended
    with sessions.begin() as session:
        for name in ended:
            again = session.get_one(Notification, name)
            assert (again.due_at, again.attempts, again.last_error) == (clock(), 0, None)
            assert (again.delivered_at, again.dead_at) == (None, None)


def test_what_is_on_its_way_stays_as_it_is(
    sessions: Sessions, clock: Clock, there: dict[Stand, UUID]
) -> None:
    with sessions.begin() as session:
        assert notices.replay(session, [there[Stand.PENDING]], now=clock())
    with sessions.begin() as session:
        pending = session.get_one(Notification, there[Stand.PENDING])
        assert (pending.due_at, pending.attempts) == (clock() + timedelta(minutes=5), 2)


def test_all_that_were_given_up_are_told_again(
    sessions: Sessions, clock: Clock, there: dict[Stand, UUID]
) -> None:
    with sessions.begin() as session:
        assert notices.replay_dead(session, now=clock(), limit=9) == 1
    with sessions.begin() as session:
        assert notices.replay_dead(session, now=clock(), limit=9) == 0
        assert session.get_one(Notification, there[Stand.DEAD]).due_at == clock()
