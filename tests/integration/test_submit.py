"""Submit: Uplynk is asked once, and what became of the call is found out, never guessed."""

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from models import Audio, Export, History, Request, State, admission
from models.pause import EVERYBODY
from tests.factories import Clock, an_asset, make_export, make_kit, reload
from tests.marks import repeats
from tests.uplynk import Course, End, Plans, Uplynk
from tests.waiting import wait_until
from worker.cloudslicer.allowance import Allowance, Kind
from worker.steps import Kit, Step, Wake, create, ledger, submit, sweep
from worker.steps.crew import LANES, Crew
from worker.steps.governor import Governor
from worker.steps.message import MOST_AT_ONCE, MOST_TOGETHER
from worker.steps.submit import A_MOMENT

Sessions = sessionmaker[Session]

SECONDS = 30.0
# Longer than it takes until a lane more is begun.
A_WHILE = 1.0

# The reading of the clock by which a submission makes sure that its claim still holds.
PAUSED_AT = 5


def some_requested(kit: Kit, number: int) -> list[Export]:
    due = {"due_at": kit.now(), "created_at": kit.now() - timedelta(hours=1)}
    return [make_export(kit.sessions, state=State.REQUESTED, **due) for _ in range(number)]


def side_by_side(kit: Kit, lanes: int = LANES) -> Kit:
    """Return a kit that asks for so many at once, however slow the machine is."""
    return replace(kit, crew=Crew(lanes, step_seconds=inf, ahead_seconds=inf))


class Counting(Allowance):
    """Lets so many call, and counts.

    Attributes:
        taken: how many calls were allowed.
    """

    def __init__(self, most: float = inf) -> None:
        super().__init__(1.0, "")
        self.taken, self._most_calls = 0, most

    def take(self, kind: Kind) -> bool:
        assert kind is Kind.SUBMIT
        if self.taken >= self._most_calls:
            return False
        self.taken += 1
        return True


def together(sessions: Sessions) -> list[int]:
    """Return how many exports were claimed at once, each time."""
    with sessions.begin() as session:
        query = select(History.at).where(History.to_state == State.SUBMITTING)
        return list(Counter(session.scalars(query.order_by(History.id))).values())


def path(sessions: Sessions, export: Export) -> list[State]:
    with sessions.begin() as session:
        query = select(History.to_state).where(History.export_id == export.id).order_by(History.id)
        return list(session.scalars(query))


@pytest.mark.parametrize("audio", list(Audio))
def test_a_requested_export_is_asked_for(
    sessions: Sessions, tmp_path: Path, emulator: Emulator, audio: Audio
) -> None:
    export = make_export(sessions, state=State.REQUESTED, audio=audio)
    report = submit(make_kit(sessions, tmp_path, emulator=emulator))
    (job,) = emulator.control.jobs(export.asset)
    after = reload(sessions, export)
    assert (after.state, after.job_id, after.claim) == (State.EXPORTING, job["id"], None)
    assert job["args"].get("aaclc") == (1 if audio is Audio.AAC_LC else None)
    assert Wake(Step.POLL, at=after.due_at) in report.wakes
    assert path(sessions, export) == [State.SUBMITTING, State.EXPORTING]


def test_the_most_urgent_is_asked_for_first_and_the_window_holds(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    low = make_export(sessions, state=State.REQUESTED, priority=1)
    high = make_export(sessions, state=State.REQUESTED, priority=5)
    make_export(sessions, state=State.EXPORTING, job_id="j1")
    make_export(sessions, state=State.SUBMITTING, due_at=Clock().time + timedelta(hours=1))
    kit = make_kit(sessions, tmp_path, emulator=emulator, max_exporting=3)
    submit(kit)
    assert reload(sessions, high).state is State.EXPORTING
    assert reload(sessions, low).state is State.REQUESTED


def test_workers_that_submit_at_once_ask_once_for_each_and_keep_the_window(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    exports = [make_export(sessions, state=State.REQUESTED) for _ in range(12)]
    kits = [make_kit(sessions, tmp_path, emulator=emulator, max_exporting=7) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(submit, kits))
    states = [reload(sessions, export).state for export in exports]
    assert states.count(State.EXPORTING) == 7
    assert all(len(emulator.control.jobs(export.asset)) <= 1 for export in exports)


def test_a_refusal_fails_the_export_with_uplynks_words(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    emulator.control.fault("jobs/create_export", "error", code=3, msg="Asset is not ready")
    submit(make_kit(sessions, tmp_path, emulator=emulator))
    after = reload(sessions, export)
    assert (after.state, after.error_code) == (State.FAILED, "uplynk_refused")
    assert "Asset is not ready" in (after.error_message or "")
    assert (after.due_at, after.claim) == (None, None)


def test_an_asset_that_uplynk_does_not_know_fails_the_export(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    emulator.control.asset(export.asset, missing=True)
    submit(make_kit(sessions, tmp_path, emulator=emulator))
    assert reload(sessions, export).error_code == "uplynk_not_found"


def test_a_refused_connection_is_no_question_asked(sessions: Sessions, tmp_path: Path) -> None:
    clock = Clock()
    export = make_export(sessions, state=State.REQUESTED, due_at=clock.time)
    kit = make_kit(sessions, tmp_path, now=clock)
    report = submit(kit)
    after = reload(sessions, export)
    assert (after.state, after.attempts) == (State.REQUESTED, 1)
    assert after.due_at is not None
    assert after.due_at > clock.time
    assert Wake(Step.SUBMIT, at=after.due_at) in report.wakes


def test_a_wrong_key_fails_nothing(sessions: Sessions, tmp_path: Path, emulator: Emulator) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    submit(make_kit(sessions, tmp_path, emulator=emulator, uplynk_api_key="wrong-key"))
    assert reload(sessions, export).state is State.REQUESTED


def test_a_message_that_asked_for_so_many_makes_room_for_others_and_goes_on(kit: Kit) -> None:
    for number in range(MOST_AT_ONCE + 1):
        create(kit, f"request-{number}", {"asset": an_asset()})
    report = submit(kit)
    assert report.took == report.facts["took"] == MOST_AT_ONCE
    assert len(str(report.facts)) < 1000
    assert report.wakes[-1] == Wake(Step.SUBMIT, goes_on=True)


@pytest.mark.parametrize(
    ("number", "answered_before"), [(MOST_AT_ONCE + 5, 0), (MOST_AT_ONCE + 5, 1), (5, 1)]
)
def test_a_call_that_hangs_holds_up_no_other_export(
    kit: Kit, sessions: Sessions, plans: Plans, number: int, answered_before: int
) -> None:
    make_export(sessions, state=State.STORED, state_since=kit.now())  # so the window is wide
    exports = some_requested(kit, number)
    gate = Event()

    def hang() -> None:
        gate.wait(SECONDS)

    for _ in range(answered_before):  # then others are claimed with the one that hangs
        plans.plan("create_export", Course())
    plans.plan("create_export", Course(before=hang))
    states = Counter[State]()

    def all_but_one() -> bool:
        states.clear()
        states.update(reload(sessions, export).state for export in exports)
        return states == {State.SUBMITTING: 1, State.EXPORTING: number - 1}

    with ThreadPoolExecutor(1) as pool:
        crew = Crew(2, late_seconds=0, ahead_seconds=inf)
        report = pool.submit(submit, replace(kit, crew=crew))
        wait_until(all_but_one, what="all exports but one under way")
        gate.set()
        assert report.result(SECONDS).took == len(exports)
    assert all(reload(sessions, export).state is State.EXPORTING for export in exports)


def test_a_message_comes_to_its_end_though_there_is_always_a_call_that_is_late(
    kit: Kit, sessions: Sessions, plans: Plans
) -> None:
    make_export(sessions, state=State.STORED, state_since=kit.now())  # so the window is wide
    begun = [Event() for _ in some_requested(kit, 2 * MOST_AT_ONCE)]

    def until_the_next(number: int) -> None:
        begun[number].set()
        if number + 1 < len(begun):
            begun[number + 1].wait(SECONDS if number < MOST_AT_ONCE else A_WHILE)

    for number in range(len(begun)):
        plans.plan("create_export", Course(before=partial(until_the_next, number)))
    # of two lanes one can't run ahead while the other's call is slow for other reasons
    crew = Crew(2, late_seconds=0, step_seconds=inf)
    report = submit(replace(kit, crew=crew))
    assert MOST_AT_ONCE <= report.took <= MOST_AT_ONCE + crew.lanes
    assert report.wakes[-1] == Wake(Step.SUBMIT, goes_on=True)


def test_what_comes_while_a_call_hangs_is_asked_for_beside_it(
    kit: Kit, sessions: Sessions, plans: Plans
) -> None:
    (first,) = some_requested(kit, 1)
    gate, hangs = Event(), Event()

    def hang() -> None:
        hangs.set()
        gate.wait(SECONDS)

    plans.plan("create_export", Course(before=hang))
    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(submit, side_by_side(kit, 2))
        assert hangs.wait(SECONDS)
        (second,) = some_requested(kit, 1)
        wait_until(lambda: reload(sessions, second).state is State.EXPORTING, what="the second")
        assert reload(sessions, first).state is State.SUBMITTING
        gate.set()
        assert report.result(SECONDS).took == 2


def test_what_is_due_and_may_not_be_asked_for_is_tried_once_a_lane(
    kit: Kit, sessions: Sessions
) -> None:
    some_requested(kit, 9)
    with sessions.begin() as session:
        admission.pause(session, account=kit.slicer.owner, requester=EVERYBODY, now=kit.now())
    allowance = Counting()
    assert submit(replace(side_by_side(kit), allowance=allowance)).took == 0
    assert 1 <= allowance.taken <= LANES


@pytest.fixture
def ticking(kit: Kit, clock: Clock) -> Kit:
    """Give a kit by whose clock no two things are at once."""

    def now() -> datetime:
        clock.move(microseconds=1)
        return clock.time

    return replace(kit, now=now)


@pytest.mark.services
def test_where_uplynk_answers_fast_several_are_claimed_together(
    ticking: Kit, sessions: Sessions, uplynk: Uplynk
) -> None:
    make_export(sessions, state=State.STORED, state_since=ticking.now())  # so the window is wide
    exports = some_requested(ticking, MOST_AT_ONCE + 1)
    allowance = Counting()
    report = submit(replace(ticking, allowance=allowance))
    assert report.took == len(uplynk.made) == allowance.taken == MOST_AT_ONCE
    # it is not known at first how fast it is
    assert together(sessions) == [1, MOST_TOGETHER, MOST_TOGETHER, 3]
    states = Counter(reload(sessions, export).state for export in exports)
    assert states == {State.EXPORTING: MOST_AT_ONCE, State.REQUESTED: 1}


def test_where_uplynk_is_slow_each_is_claimed_when_it_is_asked_for(
    ticking: Kit, sessions: Sessions
) -> None:
    some_requested(ticking, 9)
    slow = Crew(1, step_seconds=inf, ahead_seconds=0)  # any call is, then
    assert submit(replace(ticking, crew=slow)).took == 9
    assert together(sessions) == [1] * 9


@pytest.mark.services
def test_where_uplynk_refuses_fast_each_is_claimed_when_it_is_asked_for(
    ticking: Kit, sessions: Sessions, plans: Plans
) -> None:
    some_requested(ticking, 4)
    for _ in range(2):
        plans.plan("create_export", Course(End.REFUSED))
    submit(ticking)
    assert together(sessions) == [1, 1, 1, 1]


@pytest.mark.services
def test_what_is_claimed_together_fits_into_the_window(
    kit: Kit, sessions: Sessions, uplynk: Uplynk
) -> None:
    exports = some_requested(kit, 9)
    settings = kit.settings.model_copy(update={"max_exporting": 3})
    governor = Governor(settings, kit.slicer.owner, now=kit.now)
    submit(replace(kit, settings=settings, governor=governor))
    assert len(uplynk.made) == 3
    assert sum(len(path(sessions, export)) for export in exports) == 6  # nothing of the others


@pytest.mark.services
@pytest.mark.parametrize("why", ["stop", "error", "rate"])
def test_what_was_claimed_and_not_asked_for_is_given_back(
    kit: Kit, sessions: Sessions, uplynk: Uplynk, plans: Plans, why: str
) -> None:
    exports = some_requested(kit, 6)
    stopped = Event()

    def trouble() -> None:
        stopped.set()
        if why == "error":
            raise DatabaseError("", {}, Exception("the server went away"))

    plans.plan("create_export", Course())
    plans.plan("create_export", Course(after=trouble))
    stopping = stopped.is_set if why == "stop" else kit.stopping
    allowance = Counting(2 if why == "rate" else inf)
    with suppress(DatabaseError):
        report = submit(replace(kit, stopping=stopping, allowance=allowance))
        [*_, last] = report.wakes
        assert last == Wake(
            Step.SUBMIT, at=kit.now() + A_MOMENT if why == "rate" else None, goes_on=why != "rate"
        )
    assert len(uplynk.made) == 2
    states = Counter(reload(sessions, export).state for export in exports)
    second = State.SUBMITTING if why == "error" else State.EXPORTING
    assert states == Counter({State.EXPORTING: 1, State.REQUESTED: 4}) + Counter([second])
    for export in exports[2:]:
        assert path(sessions, export) == [State.SUBMITTING, State.REQUESTED]
        after = reload(sessions, export)
        assert (after.claim, after.begun_at, after.asked_at) == (None, None, None)
        assert after.due_at == after.created_at  # its place
    submit(kit)
    assert len(uplynk.made) == 6


@pytest.mark.services
def test_what_is_claimed_and_waits_for_calls_that_hang_is_given_back(
    kit: Kit, sessions: Sessions, plans: Plans
) -> None:
    exports = some_requested(kit, 5)
    gate = Event()

    def hang() -> None:
        gate.wait(SECONDS)

    plans.plan("create_export", Course())
    plans.plan("create_export", Course(before=hang))
    crew = Crew(1, late_seconds=A_WHILE / 10, step_seconds=inf, ahead_seconds=inf)
    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(submit, replace(kit, crew=crew))
        wait_until(
            lambda: all(len(path(sessions, export)) == 2 for export in exports[2:]),
            what="those that wait to be given back",
        )
        gate.set()
        assert report.result(SECONDS).took == 5
    for export in exports[:2]:
        assert path(sessions, export) == [State.SUBMITTING, State.EXPORTING]
    for export in exports[2:]:  # once at least: others may be slow as well
        given_back = [State.SUBMITTING, State.REQUESTED]
        assert path(sessions, export)[:2] == given_back
        assert path(sessions, export)[-2:] == [State.SUBMITTING, State.EXPORTING]


@pytest.mark.services
def test_a_job_is_set_down_once_though_the_database_can_not_say_that_it_is(
    kit: Kit, sessions: Sessions, uplynk: Uplynk
) -> None:
    (export,) = some_requested(kit, 1)
    lost, is_looking = Event(), Event()

    def lose(_: Session) -> None:
        if lost.is_set() or is_looking.is_set():
            return
        is_looking.set()  # which commits as well
        is_set_down = path(sessions, export)[-1:] == [State.EXPORTING]
        is_looking.clear()
        if is_set_down:
            lost.set()
            raise OperationalError("", {}, Exception("the line was cut"))

    event.listen(sessions, "after_commit", lose)
    report = submit(kit)
    assert lost.is_set()
    assert path(sessions, export) == [State.SUBMITTING, State.EXPORTING]
    assert [wake.step for wake in report.wakes] == [Step.POLL]
    assert reload(sessions, export).job_id in uplynk.made


@pytest.mark.services
def test_what_is_given_back_and_wanted_by_nobody_any_more_is_dropped(
    kit: Kit, sessions: Sessions, uplynk: Uplynk, plans: Plans
) -> None:
    exports = some_requested(kit, 3)
    stopped = Event()

    def withdrawn() -> None:
        stopped.set()
        with sessions.begin() as session:
            session.get_one(Export, exports[2].id).unwanted_since = kit.now()

    plans.plan("create_export", Course())
    plans.plan("create_export", Course(after=withdrawn))
    submit(replace(kit, stopping=stopped.is_set))
    assert len(uplynk.made) == 2
    assert reload(sessions, exports[2]).state is State.CANCELLED


def test_the_end_of_an_export_is_told_at_once(kit: Kit, plans: Plans) -> None:
    create(kit, "request-1", {"asset": an_asset(), "webhook_url": "https://cms.example/hook"})
    plans.plan("create_export", Course(End.REFUSED))
    assert Wake(Step.NOTIFY) in submit(kit).wakes


def test_no_more_are_asked_for_side_by_side_than_the_window_has_room_for(
    kit: Kit, uplynk: Uplynk
) -> None:
    some_requested(kit, 8)
    settings = kit.settings.model_copy(update={"max_exporting": 3})
    governor = Governor(settings, kit.slicer.owner, now=kit.now)
    submit(replace(side_by_side(kit), settings=settings, governor=governor))
    assert len(uplynk.made) == 3


def test_what_goes_wrong_beside_is_told_and_loses_nothing(
    kit: Kit, sessions: Sessions, plans: Plans
) -> None:
    exports = some_requested(kit, 4)
    plans.plan("create_export", Course(End.REFUSED))
    plans.plan("create_export", Course(End.UNANSWERED))
    with ledger.counted() as counts:
        report = submit(side_by_side(kit))
    states = Counter(reload(sessions, export).state for export in exports)
    assert states == {State.FAILED: 1, State.SUBMITTING: 1, State.EXPORTING: 2}
    assert (report.took, counts.calls, len(counts.failures)) == (4, 4, 2)


@repeats
def test_failing_for_a_day_fails_the_export_in_words(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    clock = Clock()
    export = make_export(sessions, state=State.REQUESTED, due_at=clock.time)
    emulator.control.fault("jobs/create_export", "status", status=429, asset=export.asset)
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    for _ in range(400):
        submit(kit)
        if reload(sessions, export).state is State.FAILED:
            break
        with kit.circuit.watching():
            kit.slicer.list_jobs(limit=1)  # it is this export only that Uplynk has no time for
        clock.move(minutes=10)
    after = reload(sessions, export)
    assert (after.state, after.error_code) == (State.FAILED, "uplynk_busy")
    assert "it was tried for 24 hours" in (after.error_message or "")


@repeats
def test_while_uplynk_is_away_for_days_no_export_fails(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    clock = Clock()
    exports = [make_export(sessions, state=State.REQUESTED, due_at=clock.time) for _ in range(9)]
    away = make_kit(sessions, tmp_path, now=clock)
    for _ in range(400):
        submit(away)
        clock.move(minutes=10)
    assert {reload(sessions, each).state for each in exports} == {State.REQUESTED}
    back = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    submit(back)
    assert {reload(sessions, each).state for each in exports} == {State.EXPORTING}


UNKNOWN = [
    ("reset_after", {}, 1),
    ("reset_before", {}, 0),
    ("status", {"status": 502}, 0),
    ("status", {"status": 503, "retry_after": "3"}, 0),
    ("html", {}, 0),
    ("empty", {}, 0),
    ("error_after", {"code": 1, "status": 500}, 1),
    ("malformed", {"member": "id"}, 1),
    ("hang", {"when": "after"}, 1),
]


@pytest.mark.parametrize(("kind", "parameters", "made"), UNKNOWN)
def test_an_unknown_outcome_is_found_out_and_paid_once(
    sessions: Sessions,
    tmp_path: Path,
    emulator: Emulator,
    kind: str,
    parameters: dict[str, object],
    made: int,
) -> None:
    clock = Clock()
    export = make_export(sessions, state=State.REQUESTED, due_at=clock.time)
    emulator.control.fault("jobs/create_export", kind, times=1, **parameters)
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock, uplynk_timeout_seconds=2)
    submit(kit)
    after = reload(sessions, export)
    assert after.state is State.SUBMITTING
    assert after.claim is None
    assert after.due_at is not None
    assert after.due_at - clock.time >= timedelta(seconds=20)
    assert len(emulator.control.jobs(export.asset)) == made
    _until_exporting(kit, clock, sessions, export)
    (job,) = emulator.control.jobs(export.asset)
    assert reload(sessions, export).job_id == job["id"]
    assert reload(sessions, export).attempts == 0


def _until_exporting(kit: Kit, clock: Clock, sessions: Sessions, export: Export) -> None:
    for _ in range(10):
        clock.move(seconds=30)
        submit(kit)
        if reload(sessions, export).state is State.EXPORTING:
            return
    raise AssertionError(f"it is {reload(sessions, export).state}")


def test_a_job_that_is_not_in_the_list_is_looked_for_twice_before_it_is_asked_for_again(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    clock = Clock()
    export = make_export(sessions, state=State.SUBMITTING, due_at=clock.time)
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    submit(kit)
    once = reload(sessions, export)
    assert (once.state, once.looks) == (State.SUBMITTING, 1)
    assert once.due_at == clock.time + timedelta(seconds=20)
    clock.move(seconds=19)
    submit(kit)
    assert reload(sessions, export).looks == 1
    clock.move(seconds=2)
    submit(kit)
    assert reload(sessions, export).state is State.EXPORTING
    assert path(sessions, export) == [State.REQUESTED, State.SUBMITTING, State.EXPORTING]
    assert len(emulator.control.jobs(export.asset)) == 1


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_job_that_may_have_been_made_and_erased_is_lost_and_renewed_as_often_as_is_allowed(
    sessions: Sessions, tmp_path: Path, emulator: Emulator, allowed: int
) -> None:
    clock = Clock()
    export = make_export(sessions, state=State.SUBMITTING, state_since=clock.time, looks=1)
    with sessions.begin() as session:
        session.add(Request(id="r", export_id=export.id, created_at=clock.time))
    clock.move(hours=71)
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock, reexports_of_lost_jobs=allowed)
    submit(kit)
    after = reload(sessions, export)
    assert (after.state, after.error_code) == (State.FAILED, "job_lost")
    assert len(emulator.control.jobs(export.asset)) == allowed
    with sessions.begin() as session:
        served = session.get_one(Request, "r").export
        assert served is not None
        assert (served.id == export.id, served.renewals) == (not allowed, allowed)


def test_a_list_that_cannot_be_read_leaves_the_outcome_unknown(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    clock = Clock()
    export = make_export(sessions, state=State.SUBMITTING, due_at=clock.time)
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    emulator.control.fault("jobs/list", "error", code=9, msg="no lists today")
    for _ in range(5):
        submit(kit)
        clock.move(minutes=5)
    after = reload(sessions, export)
    assert (after.state, after.looks, after.attempts) == (State.SUBMITTING, 0, 5)
    assert emulator.control.jobs(export.asset) == []


@pytest.mark.parametrize("over", ["refuse", "clamp"])
@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_job_is_found_whatever_the_lists_maximum_and_order(
    sessions: Sessions, tmp_path: Path, over: Any, order: Any
) -> None:
    settings = EmulatorSettings(list_max_limit=12, list_over_limit=over, list_order=order)
    with Emulator(settings) as emulator:
        kit = make_kit(sessions, tmp_path, emulator=emulator)
        export = make_export(sessions, state=State.SUBMITTING)
        job = kit.slicer.create_export(export.asset, aaclc=False)
        for _ in range(30):
            kit.slicer.create_export(an_asset(), aaclc=False)
        submit(kit)
    assert reload(sessions, export).job_id == job.id


def test_a_job_of_another_export_is_not_adopted(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    asset = an_asset()
    first = make_export(sessions, state=State.REQUESTED, asset=asset)
    kit = make_kit(sessions, tmp_path, emulator=emulator, submit_settle_seconds=1)
    submit(kit)
    with sessions.begin() as session:
        session.get_one(Export, first.id).advance(State.CANCELLED, now=kit.now(), reason="test")
    second = make_export(sessions, state=State.SUBMITTING, asset=asset, looks=1)
    submit(kit)
    assert reload(sessions, second).job_id != reload(sessions, first).job_id
    assert len(emulator.control.jobs(asset)) == 2


def test_exports_of_one_asset_never_adopt_each_others_codec(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    asset = an_asset()
    emulator.control.fault("jobs/create_export", "reset_after", times=2)
    clock = Clock()
    he_aac, aac_lc = (
        make_export(sessions, state=State.REQUESTED, asset=asset, audio=audio, due_at=clock.time)
        for audio in (Audio.HE_AAC, Audio.AAC_LC)
    )
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    submit(kit)
    clock.move(minutes=1)
    submit(kit)
    jobs = {job["args"].get("aaclc"): job["id"] for job in emulator.control.jobs(asset)}
    assert reload(sessions, he_aac).job_id == jobs[None]
    assert reload(sessions, aac_lc).job_id == jobs[1]
    assert len(emulator.control.jobs(asset)) == 2


def test_a_job_id_that_is_taken_fails_the_export_instead_of_the_worker(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    taken = make_export(sessions, state=State.STORED, due_at=None, job_id=uuid4().hex)
    export = make_export(sessions, state=State.REQUESTED)
    emulator.control.fault("jobs/create_export", "malformed", member="id", value=taken.job_id)
    submit(make_kit(sessions, tmp_path, emulator=emulator))
    after = reload(sessions, export)
    assert (after.state, after.error_code) == (State.FAILED, "job_taken")
    assert str(taken.id) in (after.error_message or "")


def test_a_claim_that_is_lost_meanwhile_leaves_the_outcome_to_the_other(
    sessions: Sessions, tmp_path: Path
) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    other = uuid4()
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        running = pool.submit(submit, make_kit(sessions, tmp_path, uplynk_api_url=url))
        connection, _ = server.accept()
        with sessions.begin() as session:
            session.get_one(Export, export.id).claim = other
        connection.close()
        running.result()
    after = reload(sessions, export)
    assert (after.state, after.claim, after.attempts) == (State.SUBMITTING, other, 0)


def test_an_answer_that_comes_after_the_claim_is_lost_is_kept_all_the_same(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    emulator.control.fault("jobs/create_export", "delay", seconds=1.0, when="after")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(submit, make_kit(sessions, tmp_path, emulator=emulator))
        wait_until(lambda: emulator.control.jobs(export.asset), what="a job")
        with sessions.begin() as session:
            session.get_one(Export, export.id).claim = uuid4()
        running.result()
    after = reload(sessions, export)
    (job,) = emulator.control.jobs(export.asset)
    assert (after.state, after.job_id, after.claim) == (State.EXPORTING, job["id"], None)


def test_a_worker_that_stood_still_past_its_claim_claims_anew_before_it_asks(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    clock = Clock()
    reads = 0

    def paused() -> Any:
        nonlocal reads
        reads += 1
        if reads == PAUSED_AT:  # after the intent was committed
            clock.move(minutes=10)
        return clock.time

    submit(make_kit(sessions, tmp_path, emulator=emulator, now=paused))
    assert path(sessions, export) == [
        State.SUBMITTING,
        State.REQUESTED,  # the claim may have run out under the call: another has to be made
        State.SUBMITTING,
        State.EXPORTING,
    ]
    assert len(emulator.control.jobs(export.asset)) == 1


def test_a_worker_that_stood_still_until_another_was_at_its_export_asks_nobody(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    clock, other, reads = Clock(), uuid4(), 0

    def paused() -> Any:
        nonlocal reads
        reads += 1
        if reads == PAUSED_AT:
            clock.move(minutes=10)
            with sessions.begin() as session:
                there = session.get_one(Export, export.id)
                there.claim, there.due_at = other, clock.time + timedelta(minutes=1)
        return clock.time

    submit(make_kit(sessions, tmp_path, emulator=emulator, now=paused))
    assert emulator.control.jobs(export.asset) == []
    after = reload(sessions, export)
    assert (after.state, after.claim) == (State.SUBMITTING, other)


def test_exports_of_another_account_are_not_ours_to_ask_for(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = make_export(sessions, state=State.REQUESTED, account="f" * 32)
    kit = make_kit(sessions, tmp_path, emulator=emulator)
    submit(kit)
    assert reload(sessions, export).state is State.REQUESTED
    assert sweep(kit).wakes == ()


def test_a_job_on_the_first_page_is_found_however_long_the_list(
    sessions: Sessions, tmp_path: Path
) -> None:
    with Emulator(EmulatorSettings(list_max_limit=10)) as emulator:
        kit = make_kit(sessions, tmp_path, emulator=emulator)
        for _ in range(60):
            kit.slicer.create_export(an_asset(), aaclc=False)
        export = make_export(sessions, state=State.SUBMITTING)
        job = kit.slicer.create_export(export.asset, aaclc=False)
        submit(kit)
        assert reload(sessions, export).job_id == job.id
        assert emulator.control.calls()["calls"]["jobs/list"] <= 5


def test_a_job_that_may_be_the_other_codecs_is_left_while_that_is_asked_for(
    sessions: Sessions, tmp_path: Path
) -> None:
    asset = an_asset()
    with Emulator(EmulatorSettings(echo_aaclc=False)) as emulator:
        kit = make_kit(sessions, tmp_path, emulator=emulator)
        job = kit.slicer.create_export(asset, aaclc=True)
        rival = make_export(
            sessions,
            state=State.SUBMITTING,
            asset=asset,
            audio=Audio.AAC_LC,
            claim=uuid4(),
            due_at=kit.now() + timedelta(hours=1),
        )
        export = make_export(sessions, state=State.SUBMITTING, asset=asset)
        submit(kit)
        assert reload(sessions, export).state is State.SUBMITTING
        with sessions.begin() as session:
            known = session.get_one(Export, rival.id)
            known.job_id, known.claim = job.id, None
            session.get_one(Export, export.id).due_at = kit.now()
        submit(kit)
    assert reload(sessions, export).looks == 1, "that job has an export now"


def test_a_codec_that_only_a_later_page_tells_apart_is_told_apart(
    sessions: Sessions, tmp_path: Path
) -> None:
    asset = an_asset()
    with Emulator(EmulatorSettings(list_max_limit=10)) as emulator:
        kit = make_kit(sessions, tmp_path, emulator=emulator)
        kit.slicer.create_export(an_asset(), aaclc=True)
        for _ in range(15):
            kit.slicer.create_export(an_asset(), aaclc=False)
        he_aac = kit.slicer.create_export(asset, aaclc=False)
        later = kit.now() + timedelta(hours=1)
        rival = make_export(sessions, state=State.SUBMITTING, asset=asset, due_at=later)
        export = make_export(
            sessions, state=State.SUBMITTING, asset=asset, audio=Audio.AAC_LC, due_at=kit.now()
        )
        submit(kit)
        assert (reload(sessions, export).job_id, reload(sessions, export).looks) == (None, 1)
        with sessions.begin() as session:
            session.get_one(Export, rival.id).due_at = kit.now()
        submit(kit)
    assert reload(sessions, rival).job_id == he_aac.id
