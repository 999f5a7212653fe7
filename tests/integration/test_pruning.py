"""Pruning: what is older than it is to be kept for goes, with all that hangs on it; no more."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session, sessionmaker

from models import (
    Base,
    Captions,
    Channel,
    Cleaning,
    Export,
    History,
    Notification,
    Request,
    State,
    Turn,
    pruning,
)
from models.pruning import Aged, Place
from models.state import TERMINAL
from models.turns import enter, forget_idle
from models.turns import lock as lock_turns
from tests.engines import blocked
from tests.factories import (
    ACCOUNT,
    Clock,
    admit_next,
    an_asset,
    build_export,
    make_export,
    make_settings,
)
from tests.waiting import wait_until
from worker.errors import InvalidRequest
from worker.steps import Kit, Step, Wake, cancel, clean, create, retry, submit, sweep
from worker.steps.pruning import EVERY, MOST_TRANSACTIONS, ROWS_AT_ONCE

Sessions = sessionmaker[Session]

DAY = timedelta(days=1)
TABLES = (Export, Request, History, Notification)


def keeping(kit: Kit, tmp_path: Path, **settings: Any) -> Kit:
    """Return the kit with these settings, on a database that is to be looked through now."""
    kit = replace(kit, settings=make_settings(tmp_path, **settings))
    with kit.sessions.begin() as session:
        session.merge(Cleaning(account=ACCOUNT, due_at=kit.now()))
    return kit


def ended(kit: Kit, age: timedelta, *, state: State = State.STORED, **members: Any) -> Export:
    """Return an export that ended so long ago, with history, a request and a notification."""
    at = kit.now() - age
    members = {"due_at": None, "state_since": at, "created_at": at, **members}
    export = build_export(state=state, **members)
    request = Request(id=str(export.id), export_id=export.id, created_at=at)
    with kit.sessions.begin() as session:
        session.add(export)
        session.flush()
        session.add_all(
            History(export_id=export.id, at=at, to_state=each, reason="")
            for each in (State.REQUESTED, state)
        )
        session.add(request)
        session.flush()
        session.add(told(request.id, at, due_at=None))
    return export


def members(row: Base) -> dict[str, Any]:
    """Return what is set of a row that no session has."""
    return {name: value for name, value in vars(row).items() if not name.startswith("_")}


def add_stored(kit: Kit, number: int, **own: Any) -> None:
    """Add so many stored exports, together: one by one they would take their time."""
    rows = [members(build_export(state=State.STORED, due_at=None, **own)) for _ in range(number)]
    with kit.sessions.begin() as session:
        session.execute(insert(Export), rows)


def told(request_id: str, at: datetime, *, due_at: datetime | None) -> Notification:
    return Notification(
        request_id=request_id,
        channel=Channel.TASK,
        type="export.stored",
        payload={},
        created_at=at,
        due_at=due_at,
    )


def counted(sessions: Sessions) -> tuple[int, ...]:
    """Return how many exports, requests, rows of history and notifications there are."""
    with sessions.begin() as session:
        return tuple(session.scalar(select(func.count()).select_from(t)) or 0 for t in TABLES)


def is_there(sessions: Sessions, export: Export) -> bool:
    with sessions.begin() as session:
        return session.get(Export, export.id) is not None


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_what_ended_long_ago_goes_with_all_that_hangs_on_it(
    kit: Kit, tmp_path: Path, state: State
) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30)
    old = ended(kit, 31 * DAY, state=state)
    young = ended(kit, 29 * DAY, state=state)
    report = clean(kit)
    assert (dict(report.facts), report.wakes) == ({"exports": 1}, ())
    assert not is_there(kit.sessions, old)
    assert is_there(kit.sessions, young)
    assert counted(kit.sessions) == (1, 1, 2, 1)


def test_an_export_without_requests_goes_too_and_one_with_many(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30)
    shared = ended(kit, 31 * DAY)
    renewed = make_export(
        kit.sessions, state=State.FAILED, due_at=None, state_since=kit.now() - 31 * DAY
    )
    with kit.sessions.begin() as session:
        session.add_all(
            Request(
                id=f"r{each}", export_id=shared.id, created_at=kit.now(), cancelled_at=kit.now()
            )
            for each in range(3)
        )
    assert clean(kit).facts == {"exports": 2}
    assert counted(kit.sessions) == (0, 0, 0, 0)
    assert not is_there(kit.sessions, renewed)


def test_what_is_under_way_stays_however_old(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=4, keep_history_days=0.1)
    for state in set(State) - TERMINAL:
        ended(kit, 400 * DAY, state=state, due_at=kit.now())
    assert clean(kit).facts == {}
    assert counted(kit.sessions) == (4, 4, 8, 4)


KEPT = [
    ("captions are still to be asked for", {"captions": Captions.UNKNOWN}, "captions_due_at"),
    ("its job is still to be deleted", {}, "job_delete_at"),
]


@pytest.mark.parametrize(("members", "time"), [each[1:] for each in KEPT], ids=[k[0] for k in KEPT])
def test_what_is_still_to_be_done_keeps_an_export(
    kit: Kit, tmp_path: Path, members: dict[str, Any], time: str
) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30, delete_jobs_after_hours=1)
    later = kit.now() + timedelta(minutes=1)
    export = ended(kit, 31 * DAY, **(members | {time: later}))
    clean(kit)
    assert is_there(kit.sessions, export)
    with kit.sessions.begin() as session:
        setattr(session.get_one(Export, export.id), time, None)
    clean(keeping(kit, tmp_path, keep_records_days=30))
    assert not is_there(kit.sessions, export)


def test_a_job_that_nobody_will_delete_keeps_no_export(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30)
    ended(kit, 31 * DAY, job_delete_at=kit.now())
    assert clean(kit).facts == {"exports": 1}


def test_a_notification_that_is_not_delivered_keeps_all_of_its_export(
    kit: Kit, tmp_path: Path
) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30)
    export = ended(kit, 31 * DAY)
    other = ended(kit, 31 * DAY)
    with kit.sessions.begin() as session:
        session.add(told(str(export.id), kit.now(), due_at=kit.now()))
    assert clean(kit).facts == {"exports": 1}
    assert counted(kit.sessions) == (1, 1, 2, 2)
    assert not is_there(kit.sessions, other)


def test_another_accounts_are_left_to_its_workers(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30, keep_history_days=7)
    ended(kit, 31 * DAY, account="f" * 32)
    assert clean(kit).facts == {}
    assert counted(kit.sessions) == (1, 1, 2, 1)


def test_without_the_settings_nothing_goes(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path)
    ended(kit, 4000 * DAY)
    refused(kit, "r", 4000 * DAY)
    assert clean(kit).facts == {}
    assert counted(kit.sessions) == (1, 2, 2, 1)


def refused(kit: Kit, request_id: str, age: timedelta) -> None:
    with kit.sessions.begin() as session:
        session.add(
            Request(id=request_id, created_at=kit.now() - age, error_code="invalid_request")
        )


def test_refused_requests_go_by_their_age(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30)
    refused(kit, "old", 31 * DAY)
    refused(kit, "told", 32 * DAY)
    refused(kit, "young", 29 * DAY)
    with kit.sessions.begin() as session:
        session.add(told("told", kit.now(), due_at=kit.now()))
        session.add(told("old", kit.now(), due_at=None))
    assert clean(kit).facts == {"requests": 1}
    with kit.sessions.begin() as session:
        assert sorted(session.scalars(select(Request.id))) == ["told", "young"]


def test_a_request_whose_record_is_gone_is_a_new_one_when_it_is_sent_again(
    kit: Kit, tmp_path: Path
) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30)
    old = ended(kit, 31 * DAY)
    clean(kit)
    assert create(kit, str(old.id), {"asset": an_asset()}).facts["state"] == State.REQUESTED


def test_history_goes_and_the_export_stays(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path, keep_history_days=7)
    ended(kit, 8 * DAY)
    young = ended(kit, 6 * DAY, state=State.FAILED)
    assert clean(kit).facts == {"history": 2}
    assert counted(kit.sessions) == (2, 2, 2, 2)
    with kit.sessions.begin() as session:
        assert {row.export_id for row in session.scalars(select(History))} == {young.id}


def test_history_that_is_gone_is_not_looked_for_again(
    kit: Kit, tmp_path: Path, clock: Clock
) -> None:
    kit = keeping(kit, tmp_path, keep_history_days=7)
    long_gone = ended(kit, 8 * DAY)
    soon = ended(kit, 6.5 * DAY)
    assert clean(kit).facts == {"history": 2}
    with kit.sessions.begin() as session:  # it is passed over, or this would go as well
        session.add(History(export_id=long_gone.id, at=clock(), to_state=State.STORED, reason=""))
    clock.time += DAY
    assert clean(kit).facts == {"history": 2}
    with kit.sessions.begin() as session:
        assert {row.export_id for row in session.scalars(select(History))} == {long_gone.id}
        assert session.get_one(Cleaning, ACCOUNT).history_until == clock() - 7 * DAY
    assert is_there(kit.sessions, soon)


def test_one_that_is_taken_up_again_keeps_its_history(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path, keep_history_days=7)
    export = ended(kit, 8 * DAY, state=State.FAILED)
    with kit.sessions.begin() as session:
        held = session.get_one(Export, export.id, with_for_update=True)
        held.retry(State.REQUESTED, now=kit.now(), reason="retried")
        session.flush()
    assert clean(kit).facts == {}
    assert counted(kit.sessions)[2] == 3


def test_a_message_does_a_part_and_wakes_the_next(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30, keep_history_days=7)
    number, at = ROWS_AT_ONCE * MOST_TRANSACTIONS, kit.now() - 31 * DAY
    add_stored(kit, number, state_since=at)
    report = clean(kit)
    assert report.wakes == (Wake(Step.CLEAN, goes_on=True),)
    assert sweep(kit).wakes == (Wake(Step.CLEAN),)
    first = int(str(report.facts["exports"]))
    assert number - 10 * ROWS_AT_ONCE < first < number
    report = clean(kit)
    assert (report.facts, report.wakes) == ({"exports": number - first}, ())
    assert counted(kit.sessions) == (0, 0, 0, 0)


def test_what_stays_is_passed_over_though_it_ended_at_one_time(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30)
    at = kit.now() - 31 * DAY
    kept, ids = ROWS_AT_ONCE * 2 + 7, []
    with kit.sessions.begin() as session:
        for number in range(kept * 2):
            export = build_export(state=State.STORED, due_at=None, state_since=at)
            export.captions_due_at = kit.now() if number % 2 else None
            session.add(export)
            ids.append(export.id)
    assert clean(kit).facts == {"exports": kept}
    assert counted(kit.sessions) == (kept, 0, 0, 0)


@pytest.mark.parametrize("what", ["exports", "requests"])
def test_however_much_is_to_be_kept_what_lies_behind_it_goes_and_then_it_is_over(
    kit: Kit, tmp_path: Path, what: str
) -> None:
    kit = keeping(kit, tmp_path, keep_records_days=30)
    number, at = (MOST_TRANSACTIONS + 5) * ROWS_AT_ONCE, kit.now() - 40 * DAY
    if what == "exports":
        add_stored(kit, number, state_since=at, captions_due_at=kit.now())
        ended(kit, 31 * DAY)
    else:
        ids = [f"kept-{each}" for each in range(number)]
        wishes = [{"id": each, "created_at": at} for each in ids]
        tidings = [members(told(each, at, due_at=kit.now())) for each in ids]
        with kit.sessions.begin() as session:
            session.execute(insert(Request), wishes)
            session.execute(insert(Notification), tidings)
        refused(kit, "behind", 31 * DAY)
    report = clean(kit)
    assert (dict(report.facts), report.wakes) == ({what: 1}, ())
    assert counted(kit.sessions)[what == "requests"] == number


def test_a_place_is_behind_all_that_was_passed() -> None:
    first = datetime(2026, 3, 1, tzinfo=UTC)
    second = first + DAY
    place = Place(first).behind([Aged(1, first), Aged(2, first)])
    assert place == Place(first, 2)
    assert place.behind([Aged(3, first)]) == Place(first, 3)
    assert place.behind([Aged(3, first), Aged(4, second)]) == Place(second, 1)
    assert place.behind([]) == place


def test_it_is_looked_for_what_is_old_once_an_hour(kit: Kit, tmp_path: Path, clock: Clock) -> None:
    kit = replace(kit, settings=make_settings(tmp_path, keep_records_days=30))
    assert sweep(kit).wakes == ()
    ended(kit, 31 * DAY)
    clock.time += EVERY - timedelta(seconds=1)
    assert sweep(kit).wakes == ()
    assert clean(kit).facts == {}, "a message that comes early, or twice"
    clock.time += timedelta(seconds=1)
    assert sweep(kit).wakes == (Wake(Step.CLEAN),)
    assert clean(kit).facts == {"exports": 1}
    assert sweep(kit).wakes == ()


def test_an_export_that_somebody_is_at_is_left(
    kit: Kit, tmp_path: Path, sessions: Sessions
) -> None:
    if "TEST_DATABASE_URL" not in os.environ:
        pytest.skip("on SQLite one transaction at a time is made")
    kit = keeping(kit, tmp_path, keep_records_days=30)
    held, other = (ended(kit, 31 * DAY, state=State.FAILED) for _ in range(2))
    with sessions.begin() as session:
        session.get_one(Export, held.id, with_for_update=True)
        assert clean(kit).facts == {"exports": 1}
    assert is_there(sessions, held)
    assert not is_there(sessions, other)


@contextmanager
def pruned_meanwhile(kit: Kit, export: Export) -> Iterator[None]:
    """Have a deletion of the export wait to be committed while the context begins."""
    with kit.sessions() as session, session.begin():
        gone = pruning.remove_exports(session, [export.id], before=kit.now(), keeps_jobs=True)
        assert gone == {export.id}
        yield


@pytest.mark.services
@pytest.mark.parametrize("step", ["retry", "cancel"])
def test_who_wants_a_request_whose_export_just_goes_finds_none(
    kit: Kit, sessions: Sessions, step: str
) -> None:
    export = ended(kit, DAY, state=State.FAILED)
    outcome: list[object] = []

    def want() -> None:
        try:
            done = (retry if step == "retry" else cancel)(sessions, str(export.id), now=kit.now())
            outcome.append(done.facts["state"])
        except InvalidRequest as error:
            outcome.append(str(error))

    thread = Thread(target=want)
    with pruned_meanwhile(kit, export):
        thread.start()
        wait_until(lambda: blocked(sessions), what="the wait for the export")
    thread.join(30)
    assert outcome == [
        f"there is no request {export.id}" if step == "retry" else str(State.CANCELLED)
    ]


def turns(sessions: Sessions) -> list[str]:
    with sessions.begin() as session:
        return sorted(session.scalars(select(Turn.requester)))


def test_requesters_who_want_nothing_lose_their_turns(kit: Kit, tmp_path: Path) -> None:
    kit = keeping(kit, tmp_path)
    with kit.sessions.begin() as session:
        for number in range(50):
            enter(session, ACCOUNT, f"article-{number}")
        enter(session, "f" * 32, "theirs")
        for state in set(State) - TERMINAL:  # of each somebody whose export may be requested again
            enter(session, ACCOUNT, f"has one {state}")
            session.add(build_export(state=state, requester=f"has one {state}"))
        session.add(build_export(state=State.STORED, requester="article-1", due_at=None))
    assert clean(kit).facts == {"turns": 50}
    assert turns(kit.sessions) == sorted(
        ["theirs", *(f"has one {state}" for state in set(State) - TERMINAL)]
    )


def test_an_export_that_is_requested_at_the_same_moment_has_its_turn(
    kit: Kit, tmp_path: Path, sessions: Sessions
) -> None:
    kit = keeping(kit, tmp_path)
    with sessions.begin() as session:
        enter(session, ACCOUNT, "news")
        enter(session, ACCOUNT, "archive")
        session.add_all(
            build_export(state=State.REQUESTED, requester="archive", due_at=kit.now())
            for _ in range(5)
        )
    thread = Thread(target=clean, args=(kit,))
    with sessions.begin() as session:  # as all do but create, which takes one statement for both
        enter(session, ACCOUNT, "news")
        session.add(build_export(state=State.REQUESTED, requester="news", due_at=kit.now()))
        session.flush()
        thread.start()
        if session.get_bind().dialect.name == "postgresql":
            wait_until(lambda: blocked(sessions), what="the wait for who enters")
    thread.join(30)
    assert turns(sessions) == ["archive", "news"]
    assert "news" in {next_requester(sessions, kit.now()) for _ in range(2)}


@pytest.mark.services
def test_who_is_just_requesting_is_waited_for_before_turns_are_forgotten(
    kit: Kit, tmp_path: Path, sessions: Sessions
) -> None:
    kit, asset = keeping(kit, tmp_path), an_asset()
    with sessions.begin() as session:
        enter(session, ACCOUNT, "news")
    wish = {"asset": asset, "requester": "news"}
    creating = Thread(target=create, args=(kit, "r1", wish))
    cleaning = Thread(target=clean, args=(kit,))
    other = sessions()
    other.add(build_export(state=State.REQUESTED, asset=asset, due_at=kit.now()))
    other.flush()  # whoever begins one of this asset waits for what becomes of it
    creating.start()
    wait_until(lambda: blocked(sessions) == 1, what="the wait for the other export")
    cleaning.start()
    wait_until(lambda: blocked(sessions) == 2, what="the wait for who requests")
    other.rollback()
    other.close()
    creating.join(30)
    cleaning.join(30)
    assert turns(sessions) == ["news"]
    assert next_requester(sessions, kit.now()) == "news"


def next_requester(sessions: Sessions, now: datetime) -> str:
    with sessions.begin() as session:
        [export] = admit_next(session, now=now)
        return export.requester


def test_who_enters_while_turns_are_forgotten_enters_anew(kit: Kit, sessions: Sessions) -> None:
    if sessions.kw["bind"].dialect.name != "postgresql":
        pytest.skip("on SQLite one transaction at a time is made")
    with sessions.begin() as session:
        enter(session, ACCOUNT, "news")
    thread = Thread(target=create, args=(kit, "r1", {"asset": an_asset(), "requester": "news"}))
    with sessions.begin() as session:
        lock_turns(session)
        assert forget_idle(session, ACCOUNT, limit=10) == 1
        thread.start()
        wait_until(lambda: blocked(sessions), what="the wait for the turns")
    thread.join(30)
    assert turns(sessions) == ["news"]


@pytest.mark.parametrize("renewed", [False, True])
def test_what_is_retried_has_its_turn_before_a_catalogue_though_it_was_forgotten(
    kit: Kit, tmp_path: Path, *, renewed: bool
) -> None:
    kit = keeping(kit, tmp_path, max_exporting=1)
    create(kit, "r1", {"asset": an_asset(), "requester": "news"})
    with kit.sessions.begin() as session:
        export = session.get_one(Request, "r1").export
        assert export is not None
        export.advance(State.SUBMITTING, now=kit.now(), reason="")
        export.fail("export_error" if renewed else "job_taken", "no", now=kit.now())
        export.job_id = "j" if renewed else None
    assert clean(kit).facts == {"turns": 1}
    for number in range(20):
        create(kit, f"a{number}", {"asset": an_asset(), "requester": "archive"})
    retry(kit.sessions, "r1", now=kit.now())
    assert "news" in {next_requester(kit.sessions, kit.now()) for _ in range(2)}


def test_who_joins_an_export_with_more_urgency_has_a_turn(kit: Kit) -> None:
    asset = an_asset()
    for number in range(20):
        create(kit, f"a{number}", {"asset": an_asset(), "requester": "archive", "priority": 5})
    create(kit, "r1", {"asset": asset, "requester": "sport"})
    create(kit, "r2", {"asset": asset, "requester": "news", "priority": 5})
    assert "news" in {next_requester(kit.sessions, kit.now()) for _ in range(2)}
    submit(kit)
