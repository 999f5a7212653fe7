"""Survey: many jobs are looked at through Uplynk's list, whatever that is like."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import inspect
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from models import Breaker, Export, State, StopCause
from tests.crowd import (
    AGE,
    APART,
    Listed,
    crowd,
    every,
    fall_due,
    on_record,
    polled,
    with_pages,
)
from tests.factories import ACCOUNT, Clock, an_asset, make_kit
from tests.uplynk import Course, End, Killed, Plans
from worker.cloudslicer import Job, JobState
from worker.errors import Transient
from worker.logs import about
from worker.pace import JITTER
from worker.steps import Kit, Report, Step, Wake, look, poll
from worker.steps.poll import COMPANY, FEW, MOST_AT_ONCE
from worker.steps.reading import TURN
from worker.steps.survey import PAUSING, REST, REST_REFUSED

SOON, LATEST = timedelta(seconds=59), AGE / 10


@pytest.fixture
def uplynk(clock: Clock, plans: Plans) -> Listed:
    return Listed(clock, course=plans)


def one(kit: Kit, export: Export) -> Export:
    with kit.sessions.begin() as session:
        return session.get_one(Export, export.id)


def are_due(kit: Kit, exports: Sequence[Export], times: Sequence[datetime]) -> None:
    with kit.sessions.begin() as session:
        for export, at in zip(exports, times, strict=True):
            session.get_one(Export, export.id).due_at = at


def are_made(kit: Kit, exports: Sequence[Export], at: datetime) -> None:
    """Have their jobs made one after the other, from then on."""
    with kit.sessions.begin() as session:
        for number, export in enumerate(exports):
            session.get_one(Export, export.id).job_created_at = at + number * APART


def wait_of(kit: Kit, export: Export) -> timedelta:
    assert export.due_at is not None
    return export.due_at - kit.now()


def test_many_are_looked_at_with_a_call_for_each_page(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    crowd(kit, uplynk, 250)
    report = poll(kit)
    assert report.facts == {"looked": 250, "done": 0, "pages": 3}
    assert (plans.calls["list"], plans.calls["get"]) == (3, 0)
    for export in every(kit):
        assert (export.polls, export.state, export.job_state) == (1, State.EXPORTING, "assigned")
        assert SOON <= wait_of(kit, export) <= LATEST
    (wake,) = report.wakes
    assert (wake.step, wake.at) == (Step.POLL, min(export.due_at for export in every(kit)))  # type: ignore[type-var]


def test_few_are_asked_for_one_by_one(kit: Kit, uplynk: Listed, plans: Plans) -> None:
    crowd(kit, uplynk, COMPANY, due=FEW)
    assert poll(kit).facts == {"looked": FEW, "done": 0}
    assert (plans.calls["list"], plans.calls["get"]) == (0, FEW)


def test_with_few_under_way_none_waits_for_others_and_some_share_a_page(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, COMPANY, due=0)
    are_due(kit, exports[: FEW + 1], [clock()] * (FEW + 1))
    assert poll(kit).facts == {"looked": COMPANY, "done": 0, "pages": 1}
    assert (plans.calls["list"], plans.calls["get"]) == (1, 0)


@pytest.mark.parametrize("due", [1, FEW, FEW + 1])
def test_few_of_many_wait_a_moment_for_company_and_share_a_page(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock, due: int
) -> None:
    kit = with_pages(kit, 10)
    crowd(kit, uplynk, 600, due=due)
    clock.move(seconds=-1)
    report = poll(kit)  # others may be due in a moment
    assert report.facts == {"looked": 0, "done": 0}
    assert report.wakes == (Wake(Step.POLL, at=clock() + timedelta(seconds=1)),)
    clock.move(seconds=1)
    assert poll(kit).facts == {"looked": 10, "done": 0, "pages": 1}
    assert (plans.calls["list"], plans.calls["get"]) == (1, 0)


def test_jobs_of_a_page_come_to_be_due_together_though_they_are_not_at_first(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 60, due=0)
    with kit.sessions.begin() as session:
        for number, export in enumerate(exports):  # one every six seconds
            session.add(export)
            export.due_at = clock() + timedelta(seconds=6 * number)
            export.job_created_at = clock() - timedelta(hours=20) + number * APART
    begun = clock()
    while clock() - begun < timedelta(minutes=20):
        poll(kit)
        clock.move(seconds=5)
    assert min(export.polls for export in every(kit)) >= 3
    assert (plans.calls["list"], plans.calls["get"]) == (4, 0)  # of five minutes each


def test_jobs_that_are_due_one_after_the_other_are_looked_at_together(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 300, due=0)
    begun = clock()
    are_due(kit, exports, [begun + timedelta(seconds=number / 10) for number in range(300)])
    while clock() - begun < timedelta(seconds=40):
        poll(kit)
        clock.move(seconds=0.2)
    assert all(export.polls >= 1 for export in every(kit))
    assert plans.calls["list"] + plans.calls["get"] <= 8


@pytest.mark.parametrize(
    ("under_way", "size", "due", "is_read"),
    [
        (60, 10, 9, False),
        (60, 10, 10, True),  # a page is full
        (400, 10, 39, False),
        (400, 10, 40, True),  # it is a part of very many
        (COMPANY + 2, 100, COMPANY // 2, False),
        (COMPANY + 2, 100, COMPANY // 2 + 1, True),  # it is half of all
    ],
)
def test_company_is_waited_for_no_longer_than_it_saves_calls(
    kit: Kit, uplynk: Listed, clock: Clock, under_way: int, size: int, due: int, *, is_read: bool
) -> None:
    kit = with_pages(kit, size)
    are_due(kit, crowd(kit, uplynk, under_way, due=0)[-due:], [clock()] * due)
    report = poll(kit)
    assert bool(report.facts["looked"]) is is_read
    if not is_read:
        assert report.wakes == (Wake(Step.POLL, at=clock() + kit.settings.poll_min),)


def test_it_is_looked_when_a_page_is_full(kit: Kit, uplynk: Listed, clock: Clock) -> None:
    kit = with_pages(kit, 10)
    exports = crowd(kit, uplynk, 60, due=0)
    times = [clock() + timedelta(seconds=number / 10) for number in range(20)]
    are_due(kit, exports[-20:], times)
    assert poll(kit).wakes == (Wake(Step.POLL, at=times[9]),)
    clock.time = times[9]
    assert poll(kit).facts["pages"]


def test_what_a_reading_did_not_show_waits_for_no_company(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    kit, number = with_pages(kit, 100), MOST_AT_ONCE + COMPANY
    exports = crowd(kit, uplynk, 300, due=0)
    are_due(kit, exports, [clock()] * len(exports))
    hidden = {export.job_id for export in exports[:number]}
    uplynk.shown = lambda jobs: [job for job in jobs if job.id not in hidden]
    poll(kit)
    assert plans.calls["get"] == MOST_AT_ONCE
    poll(kit)
    assert plans.calls["get"] == number


@pytest.fixture
def young(kit: Kit, uplynk: Listed) -> list[Export]:
    """Give three pages of jobs that were made just now, the oldest first; none is due."""
    exports = crowd(kit, uplynk, 300, due=0)
    are_made(kit, exports, kit.now() - kit.settings.poll_min)
    return exports


def test_young_jobs_are_seen_part_by_part_with_pauses(
    kit: Kit, plans: Plans, clock: Clock, young: list[Export]
) -> None:
    are_due(kit, young, [clock()] * 300)
    begun, longest = clock(), PAUSING * kit.settings.poll_min
    goes_on_at = [begun + longest * (seen / 300) for seen in (100, 200)]
    for page, goes_on in zip((young[200:], young[100:200]), goes_on_at, strict=True):
        report = poll(kit)
        assert report.facts == {"looked": 100, "done": 0, "pages": 1}
        assert [one(kit, export).polls for export in page] == [1] * 100
        assert [wake.at for wake in report.wakes] == [goes_on]
        clock.time = goes_on - longest / 10
        idle = poll(kit)  # another message, or worker
        assert (idle.facts["looked"], [wake.at for wake in idle.wakes]) == (0, [goes_on])
        clock.time = goes_on
    assert poll(kit).facts == {"looked": 100, "done": 0, "pages": 1}
    assert {export.polls for export in every(kit)} == {1}
    assert (plans.calls["list"], plans.calls["get"]) == (3, 0)
    due_at = [one(kit, export).due_at for export in (young[200], young[100], young[0])]
    assert due_at == [at + kit.settings.poll_min for at in (begun, *goes_on_at)]


@pytest.mark.parametrize(("late", "looked", "pauses"), [(0.5, 100, True), (2.0, 200, False)])
def test_a_reading_that_is_gone_on_with_late_catches_up(
    kit: Kit, clock: Clock, young: list[Export], late: float, looked: int, *, pauses: bool
) -> None:
    are_due(kit, young, [clock()] * 300)
    begun, longest = clock(), PAUSING * kit.settings.poll_min
    poll(kit)
    clock.time = begun + longest * (1 + late) / 3
    report = poll(kit)
    assert report.facts["looked"] == looked
    if pauses:
        assert [wake.at for wake in report.wakes] == [begun + longest * (2 / 3)]


def test_what_comes_to_be_due_in_a_pause_waits_for_no_longer_than_a_sweep(
    kit: Kit, uplynk: Listed, clock: Clock, tmp_path: Path
) -> None:
    paced = make_kit(kit.sessions, tmp_path, now=clock, poll_min_seconds=90.0)
    kit = replace(paced, slicer=uplynk)
    exports = crowd(kit, uplynk, 300, due=0)
    are_made(kit, exports, kit.now() - kit.settings.poll_min)
    are_due(kit, exports[200:], [clock()] * 100)
    are_due(kit, exports[:200], [clock() + timedelta(seconds=60)] * 200)
    report = poll(kit)
    assert report.facts["looked"] == 100
    late = exports[0]
    clock.move(seconds=kit.settings.sweep_seconds)
    are_due(kit, [late], [clock() - kit.settings.company])
    poll(kit)
    assert one(kit, late).polls == 1


@pytest.mark.parametrize(("since", "pauses"), [(4.0, True), (5.0, False)])
def test_what_is_due_waits_for_no_longer_than_a_sweep_while_a_reading_pauses(
    kit: Kit, clock: Clock, young: list[Export], since: float, *, pauses: bool
) -> None:
    waiting = kit.settings.sweep_seconds - since
    are_due(kit, young, [clock() - timedelta(seconds=since)] * 300)
    report = poll(kit)
    assert report.facts["looked"] == (100 if pauses else 300)
    if pauses:
        assert [wake.at for wake in report.wakes] == [clock() + timedelta(seconds=waiting)]
        clock.move(seconds=waiting)
        assert poll(kit).facts["looked"] == 200


@pytest.mark.parametrize(("least", "waits"), [(2.0, 2.0), (90.0, 5.0)])
def test_company_is_waited_for_no_longer_than_a_sweep(
    kit: Kit, uplynk: Listed, clock: Clock, tmp_path: Path, least: float, waits: float
) -> None:
    paced = make_kit(kit.sessions, tmp_path, now=clock, poll_min_seconds=least)
    kit = replace(paced, slicer=uplynk)
    are_due(kit, crowd(kit, uplynk, 100, due=0)[-1:], [clock()])
    assert [wake.at for wake in poll(kit).wakes] == [clock() + timedelta(seconds=waits)]


def test_young_jobs_that_all_have_ended_are_seen_without_pauses(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock, young: list[Export]
) -> None:
    are_due(kit, young, [clock()] * 300)
    for export in young:
        uplynk.finish(str(export.job_id), JobState.DONE)
    assert poll(kit).facts == {"looked": 300, "done": 300, "pages": 3}
    assert (plans.calls["list"], plans.calls["get"]) == (3, 0)


def test_a_reading_does_not_pause_where_something_is_to_be_asked_for_one_by_one(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock, young: list[Export]
) -> None:
    are_due(kit, young, [clock()] * 300)
    for export in young[200:]:
        uplynk.finish(str(export.job_id), JobState.DONE)
    uplynk.shown = lambda jobs: [replace(job, url=None) for job in jobs]
    poll(kit)
    assert (plans.calls["list"], plans.calls["get"]) == (3, MOST_AT_ONCE)
    poll(kit)
    assert (plans.calls["list"], plans.calls["get"]) == (3, 2 * MOST_AT_ONCE)


def test_a_reading_that_showed_a_part_of_young_jobs_is_not_followed_by_another_at_once(
    kit: Kit, clock: Clock, young: list[Export]
) -> None:
    fall_due(kit, young[200:])
    are_due(kit, young[:200], [clock() + timedelta(seconds=0.01)] * 200)
    goes_on = clock() + PAUSING * kit.settings.poll_min * (100 / 300)
    assert poll(kit).facts == {"looked": 100, "done": 0, "pages": 1}
    clock.move(seconds=0.01)
    assert [wake.at for wake in poll(kit).wakes] == [goes_on]
    assert {one(kit, export).polls for export in young[:200]} == {0}
    clock.time = goes_on
    assert poll(kit).facts["pages"]


def test_for_a_few_that_a_page_did_not_show_there_is_no_pause(
    kit: Kit, uplynk: Listed, young: list[Export]
) -> None:
    fall_due(kit, young[200:])
    hidden = str(young[-1].job_id)
    uplynk.shown = lambda jobs: [job for job in jobs if job.id != hidden]
    poll(kit)
    assert one(kit, young[-1]).polls == 1


def test_only_behind_young_jobs_that_run_on_there_is_a_pause(
    kit: Kit, uplynk: Listed, clock: Clock, young: list[Export]
) -> None:
    are_due(kit, young, [clock()] * 300)
    for export in young[220:]:  # less than a tenth of all that are left is on the first page
        uplynk.finish(str(export.job_id), JobState.DONE)
    report = poll(kit)
    assert report.facts == {"looked": 200, "done": 80, "pages": 2}
    pause = PAUSING * kit.settings.poll_min * (120 / 220)
    assert [wake.at for wake in report.wakes if wake.step is Step.POLL] == [clock() + pause]


def test_behind_the_last_of_young_jobs_there_is_no_pause(
    kit: Kit, uplynk: Listed, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 100)
    are_made(kit, exports, kit.now() - kit.settings.poll_min)
    (wake,) = poll(kit).wakes
    assert wake.at == clock() + kit.settings.poll_min
    (more,) = crowd(kit, uplynk, 1)
    poll(kit)
    assert one(kit, more).polls == 1


def test_what_is_to_be_stopped_waits_for_no_company(kit: Kit, uplynk: Listed, plans: Plans) -> None:
    exports = crowd(kit, uplynk, 100, due=1)
    with kit.sessions.begin() as session:
        session.get_one(Export, exports[-1].id).unwanted_since = kit.now()
    poll(kit)
    assert one(kit, exports[-1]).state is State.CANCELLED
    assert plans.calls["get"] == 0


def test_those_that_would_be_due_later_get_their_time_with_the_others(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    crowd(kit, uplynk, 200, due=150)
    assert poll(kit).facts["looked"] == 200
    assert {export.polls for export in every(kit)} == {1}
    assert plans.calls["list"] == 2


def test_it_ends_with_the_page_that_shows_the_last_one_that_was_due(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    crowd(kit, uplynk, 500, due=40)  # the newest come first
    assert poll(kit).facts == {"looked": 100, "done": 0, "pages": 1}
    assert plans.calls["list"] == 1


@pytest.mark.parametrize("hidden", [1, 5, 60])
def test_what_the_list_does_not_show_is_asked_for_one_by_one(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock, hidden: int
) -> None:
    unseen = {export.job_id for export in crowd(kit, uplynk, 300)[100 : 100 + hidden]}
    uplynk.shown = lambda jobs: [job for job in jobs if job.id not in unseen]
    polled(kit, clock)
    assert {export.polls for export in every(kit)} == {1}
    assert plans.calls["get"] == hidden
    assert plans.calls["list"] == 4  # the last page is empty


def test_a_list_without_our_jobs_is_left_after_a_few_pages_and_let_be_for_a_while(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 120)
    others = [Job(id=f"other-{n}", word="done", asset=an_asset()) for n in range(5000)]
    uplynk.shown = lambda jobs: others + jobs
    polled(kit, clock)
    assert {export.polls for export in every(kit)} == {1}
    assert (plans.calls["list"], plans.calls["get"]) == (3, 120)
    assert "did not show 120 jobs" in (on_record(kit).why or "")
    clock.time = (on_record(kit).rests_until or clock.time) - timedelta(seconds=1)
    poll(kit)
    assert (plans.calls["list"], plans.calls["get"]) == (3, 170)
    clock.move(seconds=REST.total_seconds())
    polled(kit, clock)
    assert plans.calls["list"] == 6


def test_a_list_that_is_refused_is_not_asked_for_a_while(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 60)
    uplynk.most = 0
    polled(kit, clock)
    assert {export.polls for export in every(kit)} == {1}
    assert plans.calls["get"] == 60
    refused = len(uplynk.asked)
    assert "uplynk_refused" in (on_record(kit).why or "")
    clock.move(seconds=REST_REFUSED.total_seconds() - 30)
    polled(kit, clock)
    assert len(uplynk.asked) == refused
    uplynk.most = None
    clock.move(seconds=300)
    polled(kit, clock)
    assert (len(uplynk.asked), plans.calls["get"]) == (refused + 1, 120)
    assert on_record(kit).why is None


def test_a_list_that_gives_no_answer_is_let_be_as_well(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 60)
    for course in 2 * [Course(End.UNHEARD)]:
        plans.plan("list", course)
    polled(kit, clock)
    assert {(export.polls, export.attempts) for export in every(kit)} == {(1, 0)}
    assert (plans.calls["list"], plans.calls["get"]) == (2, 60)


@pytest.mark.parametrize("failing", [{0}, {1}, {0, 2, 4}])
def test_a_page_that_gives_no_answer_once_is_asked_for_again(
    kit: Kit, uplynk: Listed, plans: Plans, failing: set[int]
) -> None:
    crowd(kit, uplynk, 300)
    for call in range(max(failing) + 1):
        plans.plan("list", Course(End.UNHEARD if call in failing else End.ANSWERED))
    assert poll(kit).facts == {"looked": 300, "done": 0, "pages": 3}
    assert {export.polls for export in every(kit)} == {1}
    assert (plans.calls["list"], plans.calls["get"]) == (3 + len(failing), 0)
    assert on_record(kit).rests_until is None


def test_a_worker_that_was_told_to_stop_asks_for_no_page_again(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    crowd(kit, uplynk, 60)
    stop = Event()
    plans.plan("list", Course(End.UNHEARD, before=stop.set))
    poll(replace(kit, stopping=stop.is_set))
    assert (plans.calls["list"], plans.calls["get"]) == (1, 0)


def test_a_list_that_takes_all_the_time_is_let_be_at_once(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 60)
    lasting = kit.settings.claim.total_seconds() / 2
    plans.plan("list", Course(End.UNHEARD, before=lambda: clock.move(seconds=lasting)))
    poll(kit)
    assert on_record(kit).rests_until is not None
    poll(kit)
    assert (plans.calls["list"], plans.calls["get"]) == (1, MOST_AT_ONCE)


def test_a_page_that_is_refused_is_halved_and_that_is_remembered(
    kit: Kit, uplynk: Listed, clock: Clock
) -> None:
    crowd(kit, uplynk, 100)
    uplynk.most = 30
    polled(kit, clock)
    assert uplynk.asked == [(0, 100), (0, 50), (0, 25), (25, 25), (50, 25), (75, 25)]
    uplynk.asked.clear()
    clock.move(seconds=LATEST.total_seconds())
    polled(kit, clock)
    assert uplynk.asked == [(0, 25), (25, 25), (50, 25), (75, 25)]
    uplynk.asked.clear()
    clock.move(hours=1)
    polled(kit, clock)
    assert uplynk.asked[0] == (0, 100)


def test_a_page_that_is_cut_is_gone_on_from_where_it_ended(
    kit: Kit, uplynk: Listed, clock: Clock
) -> None:
    crowd(kit, uplynk, 100)
    uplynk.cut = 40
    polled(kit, clock)
    assert uplynk.asked == [(0, 100), (40, 100), (80, 100)]
    assert {export.polls for export in every(kit)} == {1}


@pytest.mark.parametrize("seed", range(6))
def test_in_any_order_and_with_gaps_and_repetitions_each_is_looked_at(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock, seed: int
) -> None:
    random = Random(seed)
    crowd(kit, uplynk, 300)
    others = [Job(id=f"other-{n}", word="assigned") for n in range(random.randrange(300))]

    def shown(jobs: list[Job]) -> list[Job]:
        jobs = random.sample(jobs, len(jobs) - random.randrange(20)) + others
        return random.sample(jobs, len(jobs)) + random.sample(jobs, 30)

    uplynk.shown = shown  # another order for each page
    polled(kit, clock)
    assert all(export.polls >= 1 for export in every(kit))
    assert plans.calls["list"] + plans.calls["get"] < 300
    clock.move(seconds=LATEST.total_seconds())
    uplynk.shown = lambda jobs: jobs[::-1]  # the oldest first
    polled(kit, clock)
    assert all(export.polls >= 2 for export in every(kit))


def test_jobs_that_slip_between_two_pages_are_asked_for(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 300)
    newest = {str(export.job_id) for export in exports[-4:]}

    def forget() -> None:  # the newest are gone, and all others move up
        uplynk.shown = lambda jobs: [job for job in jobs if job.id not in newest]

    plans.plan("list", Course(after=forget))
    polled(kit, clock)
    assert {export.polls for export in every(kit)} == {1}
    assert plans.calls["get"] == 4


def test_jobs_that_are_made_meanwhile_show_some_twice_and_hide_none(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 300)

    def make_more() -> None:
        for _ in range(7):
            uplynk.create_export(an_asset(), aaclc=False)

    plans.plan("list", Course(after=make_more))
    polled(kit, clock)
    assert all(export.polls >= 1 for export in every(kit))
    assert plans.calls["get"] == 0


@pytest.mark.parametrize("way", ["some", "few", "none on a page", "left"])
def test_those_that_ended_do_not_hide_what_is_due_behind_them(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock, way: str
) -> None:
    exports = crowd(kit, uplynk, 800, due=0)
    fall_due(kit, exports[:150])
    ended = 60 if way == "some" else 97
    with kit.sessions.begin() as session:
        for number, export in enumerate(exports[200:]):  # their files are there already
            if number % 100 < ended or (way == "none on a page" and 200 <= number < 300):
                session.get_one(Export, export.id).advance(
                    State.DOWNLOADING, now=clock(), reason=""
                )
                uplynk.finish(str(export.job_id), JobState.DONE)

    def throttled() -> None:
        raise Transient("uplynk_busy", "429", retry_after=TURN, is_asked_too_much=True)

    for course in (*[Course()] * 4, Course(before=throttled)) if way == "left" else ():
        plans.plan("list", course)
    polled(kit, clock)
    clock.move(seconds=TURN.total_seconds())
    polled(kit, clock)
    assert plans.calls["get"] == 0
    assert plans.calls["list"] <= 10
    assert all(export.polls for export in every(kit)[:150])


def test_a_list_without_an_end_is_left(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 300)
    uplynk.shown = lambda jobs: jobs[:100] * 1000  # it knows no `skip`
    polled(kit, clock)
    assert all(export.polls >= 1 for export in every(kit))
    assert (plans.calls["list"], plans.calls["get"]) == (5, 200)


def test_what_has_ended_goes_on_as_after_a_look_of_its_own(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    exports = crowd(kit, uplynk, 150, due=100)
    done, failed, stopped, early = exports[149], exports[148], exports[147], exports[0]
    uplynk.finish(str(done.job_id), JobState.DONE)
    uplynk.finish(str(early.job_id), JobState.DONE)
    uplynk.finish(str(stopped.job_id), JobState.CANCELLED)
    made = uplynk.made[str(failed.job_id)]
    job = replace(made.job, word="error", last_error="no track", finished_at=kit.now())
    uplynk.made[job.id] = replace(made, job=job)
    uplynk.shown = lambda jobs: [*jobs[:75], *jobs[-25:], *jobs[75:-25]]
    report = poll(kit)
    assert one(kit, done).state is one(kit, early).state is State.DOWNLOADING
    assert one(kit, done).url is not None
    assert one(kit, done).job_finished_at == kit.now()
    assert (one(kit, failed).state, one(kit, failed).error_code) == (State.FAILED, "export_error")
    assert "no track" in str(one(kit, failed).error_message)
    assert one(kit, stopped).error_code == "cancelled_at_uplynk"
    assert Wake(Step.DOWNLOAD, done.id) in report.wakes
    assert Wake(Step.DOWNLOAD, early.id) in report.wakes
    assert report.wakes.count(Wake(Step.SUBMIT)) == 1
    assert report.facts["done"] == 2
    assert plans.calls["get"] == 0


def test_a_list_that_does_not_tell_the_url_is_not_enough(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    exports = crowd(kit, uplynk, 100)
    uplynk.finish(str(exports[50].job_id), JobState.DONE)
    uplynk.shown = lambda jobs: [replace(job, url=None) for job in jobs]
    poll(kit)
    assert (one(kit, exports[50]).state, one(kit, exports[50]).attempts) == (State.DOWNLOADING, 0)
    assert plans.calls["get"] == 1


def test_what_the_list_says_of_a_job_that_runs_is_set_down(kit: Kit, uplynk: Listed) -> None:
    exports = crowd(kit, uplynk, 100)
    with kit.sessions.begin() as session:
        session.get_one(Export, exports[2].id).attempts = 3
    made = uplynk.made[str(exports[1].job_id)]
    job = replace(made.job, word="waiting", progress="43 %", last_error="try 1")
    uplynk.made[job.id] = replace(made, job=job)
    poll(kit)
    told = one(kit, exports[1])
    assert (told.job_state, told.job_progress, told.job_error) == ("waiting", "43 %", "try 1")
    assert SOON * (1 - JITTER) <= wait_of(kit, told) <= LATEST
    assert one(kit, exports[2]).attempts == 0
    assert {export.polls for export in every(kit)} == {1}


def test_what_nobody_wants_is_stopped_before_a_long_list_is_read(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    exports = crowd(kit, uplynk, 300)
    with kit.sessions.begin() as session:
        session.get_one(Export, exports[7].id).unwanted_since = kit.now()
    order: list[str] = []
    plans.plan("cancel", Course(before=lambda: order.append("cancel")))
    plans.plan("list", Course(before=lambda: order.append("list")))
    poll(kit)
    assert order == ["cancel", "list"]
    assert one(kit, exports[7]).state is State.CANCELLED


def test_what_nobody_wants_is_stopped_while_another_worker_reads(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    exports = crowd(kit, uplynk, 300)

    def leave() -> None:
        with kit.sessions.begin() as session:
            session.get_one(Export, exports[7].id).unwanted_since = kit.now()
        poll(kit)

    plans.plan("list", Course(before=leave))
    poll(kit)
    assert one(kit, exports[7]).state is State.CANCELLED
    assert plans.calls["cancel"] == 1


def test_a_job_that_takes_too_long_is_told_to_stop(kit: Kit, uplynk: Listed, clock: Clock) -> None:
    exports = crowd(kit, uplynk, 100)
    with kit.sessions.begin() as session:
        late = session.get_one(Export, exports[3].id)
        late.job_created_at = late.begun_at = kit.now() - kit.settings.export_deadline
    polled(kit, clock)
    ended = one(kit, exports[3])
    assert (ended.state, ended.error_code) == (State.FAILED, "export_deadline")
    assert ended.stop_cause is StopCause.LATE


def test_one_worker_reads_at_a_time(kit: Kit, uplynk: Listed, plans: Plans) -> None:
    crowd(kit, uplynk, 300)
    others: list[Report] = []
    plans.plan("list", Course(before=lambda: others.append(poll(kit))))
    poll(kit)
    assert (plans.calls["list"], plans.calls["get"]) == (3, 0)
    assert others[0].facts == {"looked": 0, "done": 0}
    assert others[0].wakes == (Wake(Step.POLL, at=kit.now() + TURN),)


def test_where_a_killed_worker_was_another_goes_on(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 300)
    plans.plan("list", Course())
    plans.plan("list", Course(End.DIED_AFTER))
    with pytest.raises(Killed):
        poll(kit)
    assert poll(kit).wakes == (Wake(Step.POLL, at=kit.now() + TURN),)
    clock.move(seconds=TURN.total_seconds())
    poll(kit)
    assert uplynk.asked == [(0, 100), (100, 100), (100, 100), (200, 100)]
    assert {export.polls for export in every(kit)} == {1}


def test_who_stood_still_sets_down_nothing_of_an_old_page(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 300)

    def stand_still() -> None:
        clock.move(seconds=TURN.total_seconds() + 1)
        poll(kit)

    plans.plan("list", Course(after=stand_still))
    poll(kit)
    assert {export.polls for export in every(kit)} == {1}
    assert len(uplynk.asked) == 4


def test_a_long_list_makes_room_for_other_steps_and_is_gone_on_with(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 500)
    for _ in range(5):
        plans.plan("list", Course(before=lambda: clock.move(seconds=16)))
    first = poll(kit)  # half a claim is 30 s
    assert first.facts["pages"] == 2
    assert any(wake.step is Step.POLL and wake.at <= clock() for wake in first.wakes if wake.at)
    assert [poll(kit).facts["pages"] for _ in range(2)] == [2, 1]
    assert [skip for skip, _ in uplynk.asked] == [0, 100, 200, 300, 400]


def test_where_what_is_left_is_newly_due_the_list_is_read_from_its_beginning(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 300)
    plans.plan("list", Course(after=lambda: clock.move(seconds=31)))
    assert poll(kit).facts["pages"] == 1
    with kit.sessions.begin() as session:  # somebody else has looked at the rest
        for export in exports[:200]:
            session.get_one(Export, export.id).due_at = clock() + timedelta(minutes=5)
        for export in exports[200:]:
            session.get_one(Export, export.id).due_at = clock() - kit.settings.poll_min
    uplynk.asked.clear()
    assert poll(kit).facts["pages"] == 1
    assert (uplynk.asked, plans.calls["get"]) == ([(0, 100)], 0)


def test_a_list_that_is_asked_for_too_often_is_no_reason_to_ask_one_by_one(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 300)

    def refuse(jobs: list[Job]) -> list[Job]:
        if len(uplynk.asked) == 2:
            wait = timedelta(seconds=20)
            raise Transient("uplynk_busy", "429", retry_after=wait, is_asked_too_much=True)
        return jobs

    uplynk.shown = refuse
    report = poll(kit)
    assert (report.facts["pages"], plans.calls["get"]) == (1, 0)
    assert Wake(Step.POLL, at=clock() + timedelta(seconds=20)) in report.wakes
    clock.move(seconds=10)
    poll(kit)  # by a sweep
    assert len(uplynk.asked) == 2
    clock.move(seconds=10)
    polled(kit, clock)
    assert [skip for skip, _ in uplynk.asked] == [0, 100, 100, 200]
    assert {export.polls for export in every(kit)} == {1}


def test_who_lost_its_turn_at_a_call_that_failed_sets_down_nothing(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    crowd(kit, uplynk, 100)

    def take_over() -> None:
        clock.move(seconds=TURN.total_seconds() + 1)
        poll(kit)

    plans.plan("list", Course(End.UNHEARD, before=take_over))
    poll(kit)
    assert (on_record(kit).rests_until, on_record(kit).why) == (None, None)
    assert {export.polls for export in every(kit)} == {1}


def test_it_ends_where_uplynk_is_away(kit: Kit, uplynk: Listed, plans: Plans) -> None:
    crowd(kit, uplynk, 500)

    def trip() -> None:
        with kit.sessions.begin() as session:
            session.add(Breaker(name=f"uplynk:{ACCOUNT}", failures=4, probes=0))

    plans.plan("list", Course(End.UNHEARD, before=trip))
    poll(kit)
    assert kit.circuit.is_open
    assert (plans.calls["list"], plans.calls["get"]) == (1, 0)
    assert {(export.polls, export.attempts) for export in every(kit)} == {(0, 0)}


def test_it_ends_when_the_worker_is_told_to_stop(kit: Kit, uplynk: Listed, plans: Plans) -> None:
    crowd(kit, uplynk, 500)
    kit = replace(kit, stopping=lambda: plans.calls["list"] > 1)
    report = poll(kit)
    assert (report.facts["pages"], report.wakes) == (2, ())
    assert on_record(kit).claim is None
    assert on_record(kit).skip == 200


def test_what_another_worker_is_looking_at_is_left_to_it(kit: Kit, uplynk: Listed) -> None:
    exports = crowd(kit, uplynk, 100)
    claim, until = uuid4(), kit.now() + timedelta(seconds=30)
    with kit.sessions.begin() as session:
        held = session.get_one(Export, exports[5].id)
        held.claim, held.claimed_until, held.due_at = claim, until, until
    poll(kit)
    assert (one(kit, exports[5]).claim, one(kit, exports[5]).polls) == (claim, 0)


@pytest.mark.parametrize("found", [0, 1])
def test_a_list_is_of_use_though_others_have_just_looked_at_what_was_due(
    kit: Kit, uplynk: Listed, found: int
) -> None:
    number = 2 * COMPANY
    _, *due = crowd(kit, uplynk, 2 * number, due=number)[-number + found - 1 :]

    def shown(jobs: list[Job]) -> list[Job]:
        with kit.sessions.begin() as session:  # while the page is on its way
            for export in due:
                session.get_one(Export, export.id).release(due_at=kit.now() + AGE)
        return jobs

    uplynk.shown = shown
    poll(kit)
    assert len(uplynk.asked) == 1
    assert (on_record(kit).rests_until, on_record(kit).why) == (None, None)


@pytest.mark.parametrize("url", [None, "https://before.example/slices/old.mp4"])
@pytest.mark.parametrize(
    "said_besides", [{}, {"last_error": "try 1", "progress": "100 %"}, {"finished_at": None}]
)
def test_a_page_says_of_a_job_that_is_done_what_a_look_of_its_own_says(
    kit: Kit, uplynk: Listed, clock: Clock, url: str | None, said_besides: dict[str, Any]
) -> None:
    exports = crowd(kit, uplynk, COMPANY + 2)
    failing = {"attempts": 3, "failing_since": kit.now() - AGE, "job_error": "before"}
    with kit.sessions.begin() as session:
        for export in exports[:2]:
            there = session.get_one(Export, export.id)
            there.url = url
            for name, value in failing.items():
                setattr(there, name, value)
            there.begun_at = there.created_at = there.job_created_at = kit.now() - AGE
            uplynk.finish(str(export.job_id), JobState.DONE)
            made = uplynk.made[str(export.job_id)]
            uplynk.made[made.job.id] = replace(made, job=replace(made.job, **said_besides))
    clock.move(seconds=1)
    with capture_logs([merge_contextvars]) as lines, kit.sessions.begin() as session:
        alone = session.get_one(Export, exports[0].id)
        with about(export_id=alone.id):
            wakes = look.learned(kit, session, alone, uplynk.get_job(str(alone.job_id)))
    with capture_logs([merge_contextvars]) as others:
        report = poll(kit)
    of_page = [line for line in others if line["event"] == "job done"]
    assert [{**line, "export_id": str(exports[1].id)} for line in lines] == of_page
    assert len(wakes) == 2
    assert {replace(wake, export_id=wake.export_id and exports[1].id) for wake in wakes} <= set(
        report.wakes
    )
    of_own = {"id", "asset", "job_id", "url"} if url is None else {"id", "asset", "job_id"}
    rows, said = [], []
    for export in exports[:2]:
        with kit.sessions.begin() as session:
            there = session.get_one(Export, export.id)
            [noted] = session.scalars(there.history.select())
            said.append((noted.at, noted.from_state, noted.to_state, noted.reason))
            names = [each.key for each in inspect(Export).column_attrs if each.key not in of_own]
            rows.append({name: getattr(there, name) for name in names})
    assert rows[0] == rows[1]
    assert said[0] == said[1]
    assert (rows[0]["attempts"], rows[0]["polls"]) == (0 if url is None else 3, 1)
