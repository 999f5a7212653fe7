"""Admission: who is next, where many want something and there is little room."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session, sessionmaker

from models import Export, History, Request, State, Turn, admission, turns
from models.pause import EVERYBODY
from tests.factories import (
    ACCOUNT,
    Clock,
    admit_next,
    an_asset,
    build_export,
    make_export,
    make_settings,
)
from tests.uplynk import Course, End, Plans, Uplynk
from worker.errors import InvalidRequest
from worker.steps import Kit, cancel, create, retry, submit
from worker.steps.governor import Governor

Sessions = sessionmaker[Session]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
# So many are built in a transaction: PostgreSQL ends one that stands still for 5 seconds.
A_SLICE = 100


def want(sessions: Sessions, requester: str, number: int = 1, *, priority: int = 0) -> None:
    """Have the requester want so many exports, one a second."""
    for first in range(0, number, A_SLICE):
        with sessions.begin() as session:
            turns.enter(session, ACCOUNT, requester)
            session.add_all(
                build_export(
                    state=State.REQUESTED,
                    requester=requester,
                    priority=priority,
                    due_at=EARLIER + timedelta(seconds=second),
                )
                for second in range(first, min(first + A_SLICE, number))
            )


def admit(sessions: Sessions, number: int = 1, *, together: int = 1) -> list[Export]:
    """Admit so many, one after the other or some together; fewer if no more are due."""
    admitted = list[Export]()
    while len(admitted) < number:
        most = min(together, number - len(admitted))
        with sessions.begin() as session:
            exports = admit_next(session, now=NOW, most=most)
        if not exports:
            break
        admitted += exports
    return admitted


def whose(exports: list[Export]) -> str:
    return "".join(export.requester for export in exports)


def test_what_is_admitted_is_claimed_and_its_intent_on_record(sessions: Sessions) -> None:
    asked_at = EARLIER - timedelta(hours=1)
    want(sessions, "a")
    again = make_export(
        sessions,
        state=State.REQUESTED,
        requester="b",
        due_at=EARLIER,
        asked_at=asked_at,
        begun_at=asked_at,
        looks=2,
    )
    first, second = admit(sessions, 2)
    assert (first.requester, second.id) == ("a", again.id)
    assert (first.asked_at, first.begun_at) == (NOW, NOW)
    assert (second.asked_at, second.begun_at, second.looks) == (asked_at, asked_at, 0)
    for export in (first, second):
        with sessions.begin() as session:
            there = session.get_one(Export, export.id)
            [noted] = session.scalars(there.history.select())
        assert there.claim == export.claim is not None
        assert (there.state, there.state_since) == (State.SUBMITTING, NOW)
        assert there.due_at == there.claimed_until == export.claimed_until > NOW  # type: ignore[operator]
        assert (noted.at, noted.from_state, noted.to_state) == (NOW, "requested", "submitting")


def test_what_died_as_it_was_asked_for_has_failed_once_more(sessions: Sessions) -> None:
    make_export(
        sessions,
        state=State.REQUESTED,
        requester="a",
        due_at=EARLIER,
        claim=uuid4(),
        claimed_until=EARLIER,
        attempts=1,
    )
    [export] = admit(sessions)
    assert (export.attempts, export.failing_since) == (2, NOW)


def test_what_is_taken_by_then_is_not_admitted(sessions: Sessions) -> None:
    want(sessions, "a")
    with sessions.begin() as session:
        outlook = admission.outlook(session, account=ACCOUNT, now=NOW)
        [export] = session.scalars(select(Export))
        export.cancel("cancelled", "", now=NOW)
    with sessions.begin() as session:
        until = NOW + timedelta(minutes=1)
        assert outlook.chosen == (("a", export.id),)
        chosen = outlook.chosen
        assert admission.admit(session, chosen, account=ACCOUNT, now=NOW, until=until) == []
    with sessions.begin() as session:
        assert len(session.scalars(select(History)).all()) == 1  # that of its end


@pytest.mark.services
def test_who_enters_waits_for_nobody_who_is_just_admitting(sessions: Sessions) -> None:
    want(sessions, "a")
    with sessions.begin() as admitting:
        assert admit_next(admitting, now=NOW)
        with sessions.begin() as entering:
            entering.execute(text("SET LOCAL lock_timeout = 1"))
            turns.enter(entering, ACCOUNT, "a")


@pytest.mark.services
def test_what_another_is_just_at_is_not_admitted_and_not_waited_for(sessions: Sessions) -> None:
    want(sessions, "a")
    with sessions.begin() as holding:
        [held] = holding.scalars(select(Export).with_for_update())
        with sessions.begin() as session:
            session.execute(text("SET LOCAL lock_timeout = 1"))
            assert admit_next(session, now=NOW) == []
    with sessions.begin() as session:
        assert session.get_one(Export, held.id).claim is None
        assert session.scalars(select(History)).all() == []


@pytest.mark.services
def test_of_several_that_are_next_those_are_admitted_that_nobody_is_at(sessions: Sessions) -> None:
    want(sessions, "a", 4)
    with sessions.begin() as holding:
        second = holding.scalars(select(Export).order_by(Export.due_at)).all()[1]
        [held] = holding.scalars(select(Export).where(Export.id == second.id).with_for_update())
        with sessions.begin() as session:
            session.execute(text("SET LOCAL lock_timeout = 1"))
            admitted = admit_next(session, now=NOW, most=4)
    assert len(admitted) == 3
    with sessions.begin() as session:
        for export in session.scalars(select(Export)):
            state = State.REQUESTED if export.id == held.id else State.SUBMITTING
            assert (export.state, len(session.scalars(export.history.select()).all())) == (
                state,
                int(export.id != held.id),
            )


@pytest.mark.services
@pytest.mark.parametrize("seed", range(5))
def test_together_those_are_admitted_that_would_be_one_after_the_other(
    sessions: Sessions, seed: int
) -> None:
    random = Random(seed)
    for requester in "abcdefghij":
        for priority in range(3):
            want(sessions, requester, random.choice((0, 0, 1, 2, 9)), priority=priority)
        admit(sessions, random.randrange(3))
    orders = []
    for together in (1, 2, 3, 8, 20):
        with sessions() as session:  # rolled back
            order = list[str]()
            while exports := admit_next(session, now=NOW, most=together):
                assert len(exports) <= together
                assert len({export.priority for export in exports}) == 1
                order += [f"{export.requester} {export.id}" for export in exports]
        orders.append(order)
    assert len(orders[0]) > 20
    assert all(order == orders[0] for order in orders)


def test_the_window_counts_what_uplynk_has_or_may_have(sessions: Sessions) -> None:
    for state in State:
        make_export(sessions, state=state)
    make_export(sessions, state=State.EXPORTING, account="f" * 32)
    with sessions.begin() as session:
        assert (
            admission.outlook(session, account=ACCOUNT, now=NOW).taken == 2
        )  # submitting, exporting
        nobody = admission.outlook(session, account="0" * 32, now=NOW)
    assert nobody == admission.Outlook(0)


@pytest.mark.parametrize("together", [1, 3, 8])
def test_requesters_take_turns_whoever_wants_more(sessions: Sessions, together: int) -> None:
    want(sessions, "a", 50)
    want(sessions, "b", 3)
    want(sessions, "c", 5)
    assert whose(admit(sessions, 14, together=together)) == "abcabcabcacacaaa"[:14]


def test_of_each_the_one_that_was_due_first_is_asked_for_first(sessions: Sessions) -> None:
    late = make_export(sessions, state=State.REQUESTED, due_at=NOW, requester="a")
    early = make_export(sessions, state=State.REQUESTED, due_at=EARLIER, requester="a")
    assert [export.id for export in admit(sessions, 3)] == [early.id, late.id]


@pytest.mark.parametrize("together", [1, 3, 8])
def test_who_comes_later_is_next_and_has_nothing_saved_up(
    sessions: Sessions, together: int
) -> None:
    want(sessions, "a", 50)
    admit(sessions, 20, together=together)
    want(sessions, "b", 9)
    assert whose(admit(sessions, 6, together=together)) == "bababa"


@pytest.mark.parametrize("together", [1, 3, 8])
def test_the_highest_priority_goes_first_whoever_wants_it(
    sessions: Sessions, together: int
) -> None:
    want(sessions, "a", 1000)
    admit(sessions, 3, together=together)
    want(sessions, "a", 2, priority=5)
    want(sessions, "b", 1, priority=5)
    want(sessions, "c", 1, priority=9)
    assert whose(admit(sessions, 5, together=together)) == "cbaaa"


@pytest.mark.parametrize("together", [1, 3, 8])
def test_nobody_starves(sessions: Sessions, together: int) -> None:
    for who in range(30):
        want(sessions, f"{who:02}", 3)
    assert set(
        Counter(export.requester for export in admit(sessions, 60, together=together)).values()
    ) == {2}


def test_what_is_not_due_yet_waits_and_holds_up_nobody(sessions: Sessions) -> None:
    later = NOW + timedelta(minutes=1)
    make_export(sessions, state=State.REQUESTED, due_at=later, priority=9, requester="a")
    want(sessions, "b", 1)
    assert whose(admit(sessions, 2)) == "b"


def test_exports_of_a_release_without_turns_have_theirs(sessions: Sessions) -> None:
    for _ in range(3):
        make_export(sessions, state=State.REQUESTED, due_at=EARLIER)
    with sessions.begin() as session:
        session.execute(delete(Turn))
    assert len(admit(sessions, 4)) == 3


def test_another_accounts_are_not_touched(sessions: Sessions) -> None:
    make_export(sessions, state=State.REQUESTED, due_at=EARLIER, account="f" * 32)
    assert admit(sessions) == []


@pytest.mark.parametrize(
    ("arguments", "requester"),
    [
        ({}, ""),
        ({"requester": "news"}, "news"),
        ({"metadata": {"requester": "sport"}}, "sport"),
        ({"requester": "news", "metadata": {"requester": "sport"}}, "news"),
        ({"metadata": {"requester": 7}}, ""),
        ({"metadata": {"requester": "x" * 100}}, "x" * 64),
    ],
)
def test_who_asks_is_an_argument_or_in_the_metadata(
    kit: Kit, arguments: dict[str, object], requester: str
) -> None:
    create(kit, "r1", {"asset": an_asset(), **arguments})
    with kit.sessions.begin() as session:
        request = session.get_one(Request, "r1")
        assert request.requester == requester
        assert request.export is not None
        assert request.export.requester == requester
        assert session.get(Turn, (ACCOUNT, requester)) is not None


@pytest.mark.parametrize("requester", ["", "x" * 65, 7])
def test_a_requester_that_is_none_is_refused(kit: Kit, requester: object) -> None:
    with pytest.raises(InvalidRequest, match="requester"):
        create(kit, "r1", {"asset": an_asset(), "requester": requester})


def test_a_shared_export_takes_the_turn_of_who_wants_it_most(kit: Kit) -> None:
    asset = an_asset()
    create(kit, "r1", {"asset": asset, "requester": "archive"})
    create(kit, "r2", {"asset": asset, "requester": "sport"})
    create(kit, "r3", {"asset": asset, "requester": "news", "priority": 5})
    with kit.sessions.begin() as session:
        export = session.get_one(Request, "r1").export
        assert export is not None
        assert (export.requester, export.priority) == ("news", 5)


def test_an_export_that_takes_anothers_place_has_its_turn(kit: Kit) -> None:
    create(kit, "r1", {"asset": an_asset(), "requester": "news"})
    with kit.sessions.begin() as session:
        export = session.get_one(Request, "r1").export
        assert export is not None
        export.advance(State.SUBMITTING, now=kit.now(), reason="")
        export.fail("export_error", "no", now=kit.now())
        export.asked_at, export.job_id = kit.now(), "j"
    retry(kit.sessions, "r1", now=kit.now())
    with kit.sessions.begin() as session:
        renewed = session.get_one(Request, "r1").export
        assert renewed is not None
        assert (renewed.id != export.id, renewed.requester) == (True, "news")


def test_a_clip_is_asked_for_with_the_next_room_though_a_catalogue_waits(
    sessions: Sessions, tmp_path: Path, kit: Kit
) -> None:
    want(sessions, "archive", 300)
    settings = make_settings(tmp_path, max_exporting=2)
    kit = replace(kit, settings=settings, governor=Governor(settings, ACCOUNT, now=kit.now))
    submit(kit)
    create(kit, "clip", {"asset": an_asset(), "requester": "news", "priority": 1})
    submit(kit)  # the window is full
    with sessions.begin() as session:
        clip = session.get_one(Request, "clip").export
        assert clip is not None
        assert clip.state is State.REQUESTED
        [first, _] = session.query(Export).where(Export.state == State.EXPORTING)
        first.cancel("cancelled", "room", now=kit.now())
    submit(kit)
    with sessions.begin() as session:
        assert session.get_one(Export, clip.id).state is State.EXPORTING
        assert session.query(Export).where(Export.state == State.EXPORTING).count() == 2


def pause(sessions: Sessions, requester: str) -> bool:
    with sessions.begin() as session:
        return admission.pause(session, account=ACCOUNT, requester=requester, now=NOW)


def go_on(sessions: Sessions, requester: str) -> bool:
    with sessions.begin() as session:
        return admission.resume(session, account=ACCOUNT, requester=requester)


def test_of_who_is_paused_nothing_is_asked_for_until_it_goes_on(sessions: Sessions) -> None:
    want(sessions, "archive", 5, priority=9)
    want(sessions, "archive", 5)
    want(sessions, "news", 2)
    want(sessions, "sport", 1, priority=-4)
    assert (pause(sessions, "archive"), pause(sessions, "archive")) == (True, False)
    assert whose(admit(sessions, 5)) == "newsnewssport"
    assert (go_on(sessions, "archive"), go_on(sessions, "archive")) == (True, False)
    assert whose(admit(sessions, 20)) == "archive" * 10


def test_while_all_is_paused_nothing_is_asked_for(sessions: Sessions) -> None:
    want(sessions, "news")
    pause(sessions, EVERYBODY)
    pause(sessions, "news")
    assert not admit(sessions)
    go_on(sessions, EVERYBODY)
    assert not admit(sessions)
    go_on(sessions, "news")
    assert whose(admit(sessions)) == "news"


def test_a_pause_is_of_its_account(sessions: Sessions) -> None:
    want(sessions, "news")
    with sessions.begin() as session:
        admission.pause(session, account="f" * 32, requester=EVERYBODY, now=NOW)
    assert whose(admit(sessions)) == "news"


def test_who_never_had_a_turn_has_one_though_others_are_paused(sessions: Sessions) -> None:
    for requester in "abc":
        want(sessions, requester, 2)
    with sessions.begin() as session:
        session.execute(delete(Turn))
    pause(sessions, "a")
    pause(sessions, "b")
    assert whose(admit(sessions, 5)) == "cc"


def test_what_waits_for_one_who_is_paused_goes_on_for_another(kit: Kit) -> None:
    asset, other = an_asset(), an_asset()
    create(kit, "r1", {"asset": asset, "requester": "archive", "priority": 2})
    create(kit, "r2", {"asset": other, "requester": "archive"})
    pause(kit.sessions, "archive")
    submit(kit)
    create(kit, "r3", {"asset": asset, "requester": "news"})
    submit(kit)
    with kit.sessions.begin() as session:
        wanted, waiting = session.get_one(Request, "r1"), session.get_one(Request, "r2")
        assert wanted.export is not None
        assert (wanted.state, wanted.export.requester) == (State.EXPORTING, "news")
        assert wanted.export.priority == 2
        assert waiting.state is State.REQUESTED


def test_what_is_just_asked_for_as_its_requester_is_paused_goes_on_for_another(
    kit: Kit, plans: Plans, uplynk: Uplynk, clock: Clock
) -> None:
    asset = an_asset()
    create(kit, "r1", {"asset": asset, "requester": "archive"})
    create(kit, "r2", {"asset": asset, "requester": "news"})
    create(kit, "r3", {"asset": an_asset(), "requester": "archive"})

    def they_pause() -> None:
        with kit.sessions.begin() as session:
            admission.pause(session, account=ACCOUNT, requester="archive", now=clock())

    plans.plan("create_export", Course(End.NEVER_MADE, before=they_pause))
    submit(kit)
    assert not uplynk.made
    clock.move(minutes=10)
    submit(kit)
    assert [made.job.asset for made in uplynk.made.values()] == [asset]


def held(kit: Kit, name: str) -> bool:
    """Say whether the request's export still waits, after all that may be asked was asked."""
    submit(kit)
    with kit.sessions.begin() as session:
        return session.get_one(Request, name).state is State.REQUESTED


@pytest.mark.parametrize("priority", [0, 5])
def test_one_who_is_paused_holds_up_nobody_by_joining(kit: Kit, priority: int) -> None:
    asset = an_asset()
    pause(kit.sessions, "archive")
    create(kit, "r1", {"asset": asset, "requester": "news"})
    create(kit, "r2", {"asset": asset, "requester": "archive", "priority": priority})
    assert not held(kit, "r1")


def test_what_others_want_as_well_is_theirs_once_its_own_is_paused(kit: Kit) -> None:
    both, alone = an_asset(), an_asset()
    for asset in (both, alone):
        create(kit, f"a{asset}", {"asset": asset, "requester": "archive", "priority": 3})
    create(kit, "r1", {"asset": both, "requester": "news"})
    create(kit, "r2", {"asset": both, "requester": "sport", "priority": 2})
    pause(kit.sessions, "archive")
    with kit.sessions.begin() as session:
        export = session.get_one(Request, "r1").export
        assert export is not None
        assert (export.requester, export.priority) == ("sport", 3)
    assert not held(kit, "r1")
    assert held(kit, f"a{alone}")


def test_who_is_left_when_another_withdraws_decides(kit: Kit) -> None:
    first, second = an_asset(), an_asset()
    create(kit, "r1", {"asset": first, "requester": "archive"})
    pause(kit.sessions, "archive")
    create(kit, "r2", {"asset": first, "requester": "news"})
    cancel(kit.sessions, "r1", now=kit.now())
    create(kit, "r3", {"asset": second, "requester": "archive"})
    create(kit, "r4", {"asset": second, "requester": "news", "priority": 4})
    cancel(kit.sessions, "r4", now=kit.now())
    assert not held(kit, "r2")
    assert held(kit, "r3")
    with kit.sessions.begin() as session:
        export = session.get_one(Request, "r3").export
        assert export is not None
        assert (export.requester, export.priority) == ("archive", 0)


def test_who_pauses_waits_for_who_is_just_asking(sessions: Sessions, kit: Kit) -> None:
    want(sessions, "news")
    with sessions() as asking, ThreadPoolExecutor(1) as threads:
        admission.lock(asking)
        admission.who_is_paused(asking, ACCOUNT)
        pausing = threads.submit(pause, sessions, EVERYBODY)
        if kit.sessions.kw["bind"].dialect.name == "postgresql":
            with pytest.raises(TimeoutError):
                pausing.result(timeout=0.3)
        asking.rollback()
        assert pausing.result()


def test_what_uplynk_was_asked_for_goes_on_though_it_is_paused(kit: Kit) -> None:
    create(kit, "r1", {"asset": an_asset()})
    with kit.sessions.begin() as session:
        export = session.get_one(Request, "r1").export
        assert export is not None
        export.advance(State.SUBMITTING, now=kit.now(), reason="")
        export.asked_at = kit.now() - timedelta(minutes=1)
    pause(kit.sessions, EVERYBODY)
    assert submit(kit).facts["exports"] == [str(export.id)]
