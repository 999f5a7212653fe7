"""Places: the list is read where jobs are due, and all of it where they are not found there."""

from dataclasses import replace
from datetime import timedelta

import pytest

from models import Export, State, Survey, claims
from tests.crowd import APART, Listed, crowd, every, fall_due, on_record, polled, with_pages
from tests.factories import ACCOUNT, Clock, an_asset
from tests.marks import repeats
from tests.uplynk import Course, End, Killed, Plans
from worker.cloudslicer import Job, JobState
from worker.errors import ExportError, Permanent, Transient
from worker.steps import Kit, poll
from worker.steps.poll import COMPANY
from worker.steps.reading import LEAST_MISSING, TURN
from worker.steps.survey import FEW


@pytest.fixture
def uplynk(clock: Clock, plans: Plans) -> Listed:
    return Listed(clock, course=plans)


def places(uplynk: Listed) -> list[int]:
    return [skip for skip, _ in uplynk.asked]


def told(plans: Plans) -> tuple[int, int]:
    """Return how many pages were asked for, and how many jobs one by one."""
    return plans.calls["list"], plans.calls["get"]


def test_a_reading_begins_where_the_newest_is_that_is_due(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    fall_due(kit, exports[:120])  # the oldest, which the list has last
    poll(kit)
    assert places(uplynk) == [850, 950]
    assert plans.calls["get"] == 0
    assert [export.polls for export in every(kit)] == [1] * 150 + [0] * 850


def test_what_is_not_due_is_passed_over(kit: Kit, uplynk: Listed, plans: Plans) -> None:
    exports = crowd(kit, uplynk, 2000, due=0)
    fall_due(kit, exports[:30])
    fall_due(kit, exports[1000:1020])
    fall_due(kit, exports[-40:])
    poll(kit)
    assert places(uplynk) == [0, 950, 1900]
    assert plans.calls["get"] == 0
    polls = [export.polls for export in every(kit)]
    assert {*polls[:30], *polls[1000:1020], *polls[-40:]} == {1}


@pytest.mark.parametrize("first", [0, 50, 99])
def test_few_that_are_far_apart_are_seen_with_a_page_each(
    kit: Kit, uplynk: Listed, plans: Plans, first: int
) -> None:
    exports = crowd(kit, uplynk, 1200, due=0)
    fall_due(kit, exports[first::200])
    poll(kit)
    assert (plans.calls["list"], plans.calls["get"]) == (6, 0)
    assert all(export.polls == 1 for export in every(kit)[first::200])


def test_a_list_has_others_jobs_too_and_what_has_ended(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 600, due=0)
    fall_due(kit, exports[:200])
    others = [Job(id=f"other-{n}", word="done", asset=an_asset()) for n in range(150)]
    uplynk.shown = lambda jobs: [*others, *jobs[:300], *others, *jobs[300:]]
    polled(kit, clock)
    assert all(export.polls == 1 for export in every(kit)[:200])
    assert plans.calls["get"] == 0
    assert places(uplynk)[0] == 350
    assert plans.calls["list"] <= 6


@repeats
def test_each_is_looked_at_once_in_its_time_however_many_wait(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    kit = with_pages(kit, 20)
    exports = crowd(kit, uplynk, 1000)  # fifty pages, of which each takes a second
    slow = Course(before=lambda: clock.move(seconds=1))
    with kit.sessions.begin() as session:
        for number, export in enumerate(exports):  # due at any time
            session.add(export)
            export.due_at = clock() + timedelta(seconds=number * 7 % 300)
            export.job_created_at = clock() - timedelta(hours=20) + number * APART

    def later(seconds: int) -> timedelta:
        """Poll for so long; return how late the latest look was begun."""
        for _ in range(seconds):
            plans.plan("list", slow)
        begun, late = clock(), timedelta()
        while clock() - begun < timedelta(seconds=seconds):
            with kit.sessions.begin() as session:
                due = claims.next_due(session, State.EXPORTING, account=ACCOUNT)
            late = max(late, clock() - (due or clock()))
            poll(kit)
            clock.move(seconds=4)
        return late

    later(310)  # by then what waits together is looked at together
    looks, lists, gets = (sum(export.polls for export in every(kit)), *told(plans))
    assert min(export.polls for export in every(kit)) >= 1
    late, cycles = later(2 * 300), 2
    assert min(export.polls for export in every(kit)) >= 1 + cycles
    assert sum(export.polls for export in every(kit)) - looks <= 1.2 * cycles * len(exports)
    assert told(plans)[0] - lists <= 1.2 * cycles * 50
    assert told(plans)[1] == gets
    assert late <= timedelta(seconds=5 + 50)  # POLL_MIN_SECONDS, and a reading of all


def test_a_list_that_begins_with_the_oldest_is_read_from_its_top(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 600, due=0)
    fall_due(kit, exports[200:400])
    uplynk.shown = lambda jobs: jobs[::-1]
    polled(kit, clock)
    assert places(uplynk) == [150, 0, 100, 200, 300]
    assert plans.calls["get"] == 0
    assert all(export.polls for export in every(kit)[200:400])


def test_few_are_not_looked_for_in_all_of_a_list_in_another_order(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    kit = with_pages(kit, 20)
    exports = crowd(kit, uplynk, 1200, due=0)
    fall_due(kit, exports[600 : 600 + FEW + 2])  # sixty pages
    uplynk.shown = lambda jobs: jobs[::-1]
    polled(kit, clock)
    assert told(plans) == (1, FEW + 2)
    assert all(export.polls == 1 for export in every(kit)[600 : 600 + FEW + 2])
    assert on_record(kit).rests_until is None


def test_what_is_elsewhere_than_its_age_tells_is_found_from_the_top(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 800, due=0)
    fall_due(kit, exports[:400:2])
    # every other job comes first: each page is in the order of age, and not the list
    uplynk.shown = lambda jobs: jobs[1::2] + jobs[::2]
    polled(kit, clock)
    assert places(uplynk)[0] > 0
    assert 0 in places(uplynk)
    assert plans.calls["list"] <= 2 * 8
    assert plans.calls["get"] == 0
    assert all(export.polls for export in every(kit)[:400:2])


def test_jobs_that_went_off_the_list_hide_none_of_those_behind_them(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    fall_due(kit, exports[:200])
    uplynk.shown = lambda jobs: jobs[300:]
    polled(kit, clock)
    assert places(uplynk)[0] == 750  # the list ends before
    assert plans.calls["get"] == 0
    assert all(export.polls == 1 for export in every(kit)[:200])


@pytest.mark.parametrize("hidden", [1, FEW])
def test_for_a_few_that_are_not_where_they_should_be_no_list_is_read_to_its_end(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock, hidden: int
) -> None:
    exports = crowd(kit, uplynk, 2000, due=0)
    fall_due(kit, exports[1000:1150])
    unseen = {export.job_id for export in exports[1050 : 1050 + hidden]}
    uplynk.shown = lambda jobs: [job for job in jobs if job.id not in unseen]
    polled(kit, clock)
    assert (plans.calls["list"], plans.calls["get"]) == (3, hidden)
    assert all(export.polls == 1 for export in every(kit)[1000:1150])


def test_those_who_were_told_of_their_jobs_in_another_order_are_in_order_all_the_same(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    with kit.sessions.begin() as session:
        for number, export in enumerate(exports):  # eight at a time are asked for
            session.add(export)
            export.job_created_at = clock() - timedelta(hours=1) + (number ^ 7) * APART
    fall_due(kit, exports[300:500])
    polled(kit, clock)
    assert plans.calls["list"] <= 3
    assert 0 not in places(uplynk)
    assert all(export.polls == 1 for export in every(kit)[300:500])


def test_jobs_that_are_made_meanwhile_hide_none(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    fall_due(kit, exports[100:300])
    fall_due(kit, exports[700:900])

    def make_more() -> None:
        for _ in range(60):
            uplynk.create_export(an_asset(), aaclc=False)

    for _ in range(20):
        plans.plan("list", Course(after=make_more))
    polled(kit, clock)
    assert all(export.polls for export in [*every(kit)[100:300], *every(kit)[700:900]])
    assert plans.calls["get"] == 0


def test_where_a_killed_worker_passed_over_some_another_goes_on_behind_them(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    fall_due(kit, exports[100:300])
    plans.plan("list", Course())
    plans.plan("list", Course(End.DIED_AFTER))
    with pytest.raises(Killed):
        poll(kit)
    clock.move(seconds=TURN.total_seconds())
    poll(kit)
    assert places(uplynk) == [650, 750, 750, 850]
    assert all(export.polls == 1 for export in every(kit)[100:300])


def test_a_reading_of_all_that_was_left_is_gone_on_with_as_one(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 600, due=0)
    fall_due(kit, exports[200:400])
    uplynk.shown = lambda jobs: jobs[::-1]
    for _ in range(10):
        plans.plan("list", Course(before=lambda: clock.move(seconds=16)))
    poll(kit)  # half a claim is 30 s
    assert places(uplynk) == [150, 0]
    assert on_record(kit).is_whole
    polled(kit, clock)
    assert places(uplynk) == [150, 0, 100, 200, 300]
    assert on_record(kit).begun_at is None


def test_a_reading_that_was_left_and_passed_over_nothing_does_not_begin_again(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 600)
    unseen = {export.job_id for export in exports[100:160]}
    uplynk.shown = lambda jobs: [job for job in jobs if job.id not in unseen]
    plans.plan("list", Course(before=lambda: clock.move(seconds=31)))  # half a claim is 30 s
    polled(with_pages(kit, 100), clock)
    assert places(uplynk) == [0, 100, 200, 300, 400, 500, 540]
    assert plans.calls["get"] == 60
    assert {export.polls for export in every(kit)} == {1}


@pytest.mark.parametrize("hidden", [61, 140])
def test_what_a_reading_does_not_show_is_asked_for_before_the_next(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock, hidden: int
) -> None:
    exports = crowd(kit, uplynk, 300)
    unseen = {export.job_id for export in exports[100 : 100 + hidden]}
    uplynk.shown = lambda jobs: [job for job in jobs if job.id not in unseen]
    polled(with_pages(kit, 100), clock)
    assert told(plans) == (4 if hidden < 100 else 3, hidden)  # the last is empty
    assert {export.polls for export in every(kit)} == {1}


def test_jobs_whose_url_is_not_told_have_no_page_read_again(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    fall_due(kit, exports[:200])
    for export in exports[20:140]:
        uplynk.finish(str(export.job_id), JobState.DONE)
    uplynk.shown = lambda jobs: [replace(job, url=None) for job in jobs]
    polled(with_pages(kit, 100), clock)
    assert told(plans) == (3, 120)
    assert {export.state for export in every(kit)[20:140]} == {State.DOWNLOADING}


def test_what_is_missed_keeps_the_others_waiting_for_a_while_only(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 600, due=0)
    fall_due(kit, exports[:300])
    unseen = {export.job_id for export in exports[:140]}
    uplynk.shown = lambda jobs: [job for job in jobs if job.id not in unseen]
    for _ in range(1000):
        plans.plan("get", Course(before=lambda: clock.move(seconds=1)))
    kit, begun = with_pages(kit, 100), clock()
    poll(kit)
    fall_due(kit, exports[300:])
    lists = plans.calls["list"]
    while plans.calls["list"] == lists and clock() - begun < timedelta(minutes=2):
        before = clock()
        poll(kit)
    assert plans.calls["list"] > lists
    assert before - begun <= LEAST_MISSING + kit.settings.claim / 2


def test_a_job_that_is_not_listed_yet_hides_no_other(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    with kit.sessions.begin() as session:
        for number, export in enumerate(exports[-200:]):
            session.add(export)
            export.job_created_at = clock() - timedelta(seconds=20) + number * APART
    fall_due(kit, exports[300:500])
    uplynk.shown = lambda jobs: jobs[200:]
    polled(kit, clock)
    assert plans.calls["get"] == 0
    assert plans.calls["list"] <= 5
    assert all(export.polls == 1 for export in every(kit)[300:500])


def test_where_a_place_is_refused_the_list_is_read_from_its_top(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    fall_due(kit, exports[:200])

    def shown(jobs: list[Job]) -> list[Job]:
        if uplynk.asked[-1][0] >= 700:
            raise Permanent("uplynk_refused", "skip")
        return jobs[300:]

    uplynk.shown = shown
    polled(kit, clock)
    assert [place for place in places(uplynk) if place < 700] == [0, 100, 200, 300, 400, 500, 600]
    assert plans.calls["get"] == 0
    assert {export.polls for export in every(kit)[:200]} == {1}


@pytest.mark.parametrize("error", [Permanent("uplynk_refused", "skip"), Transient("away", "slow")])
def test_where_only_the_top_of_the_list_is_had_that_is_used_all_the_same(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock, error: ExportError
) -> None:
    crowd(kit, uplynk, 300)

    def shown(jobs: list[Job]) -> list[Job]:
        if uplynk.asked[-1][0] >= 200:
            raise error
        return jobs

    uplynk.shown = shown
    polled(with_pages(kit, 100), clock)
    assert plans.calls["get"] == 100
    assert {export.polls for export in every(kit)} == {1}
    assert on_record(kit).rests_until is None
    uplynk.asked.clear()
    clock.move(seconds=60)
    polled(with_pages(kit, 100), clock)
    assert places(uplynk)[:2] == [0, 100]
    assert (uplynk.asked[0][1], plans.calls["get"]) == (100, 200)


def test_a_refused_place_says_nothing_of_how_many_come(
    kit: Kit, uplynk: Listed, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    fall_due(kit, exports[350:380])

    def shown(jobs: list[Job]) -> list[Job]:
        skip, limit = uplynk.asked[-1]
        if skip + limit > 640:
            raise Permanent("uplynk_refused", "skip and limit")
        return jobs

    uplynk.shown = shown
    polled(kit, clock)
    assert min(limit for _, limit in uplynk.asked) < 100
    assert kit.page_size.size == 100


def test_a_reading_that_took_long_has_what_it_missed_asked_for_before_the_next(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    kit = with_pages(kit, 20)
    exports = crowd(kit, uplynk, 400)
    for export in exports[:120]:
        uplynk.finish(str(export.job_id), JobState.DONE)
    uplynk.shown = lambda jobs: [replace(job, url=None) for job in jobs]
    with kit.sessions.begin() as session:
        for export in exports:
            session.get_one(Export, export.id).job_created_at = clock() - timedelta(hours=9)
    for _ in range(20):
        plans.plan("list", Course(before=lambda: clock.move(seconds=5)))
    polled(kit, clock)
    assert told(plans) == (20, 120)
    assert {export.state for export in every(kit)[:120]} == {State.DOWNLOADING}


def test_what_runs_and_comes_first_hides_none_of_those_that_wait(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    fall_due(kit, [*exports[-90:-50], *exports[200:500]])
    uplynk.shown = lambda jobs: [*jobs[-10:], *jobs[:-10]]  # the oldest run
    polled(kit, clock)
    assert plans.calls["get"] == 0
    assert plans.calls["list"] <= 6
    assert all(export.polls for export in [*every(kit)[-90:-50], *every(kit)[200:500]])


@pytest.mark.parametrize("ended", [0, 10_000])
def test_a_list_that_does_not_show_what_is_due_costs_a_page_a_minute(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock, ended: int
) -> None:
    exports = crowd(kit, uplynk, COMPANY + 2, due=0)
    others = [Job(id=f"ended-{n}", word="done", asset=an_asset()) for n in range(ended)]
    # the oldest comes behind all that has ended, or there is nothing at all
    uplynk.shown = lambda jobs: [*jobs[:-1], *others, jobs[-1]] if others else []
    for _ in range(6):
        fall_due(kit, exports[:1])
        poll(kit)
        clock.move(seconds=11)
    assert told(plans) == (1, 6)


def test_however_often_it_is_left_a_reading_that_shows_nothing_ends(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 60, due=0)
    fall_due(kit, exports[:30])
    ended = [Job(id=f"ended-{n}", word="done", asset=an_asset()) for n in range(10_000)]
    uplynk.shown = lambda jobs: [*ended, *jobs]
    for _ in range(100):
        plans.plan("list", Course(before=lambda: clock.move(seconds=31)))  # one a message
    polled(kit, clock)
    assert told(plans) == (3, 30)


def test_a_job_that_is_shown_twice_is_counted_once(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 600, due=0)
    fall_due(kit, exports[200:400])
    for export in exports[340:400]:
        uplynk.finish(str(export.job_id), JobState.DONE)

    def shown(jobs: list[Job]) -> list[Job]:
        return [replace(job, url=None) for job in jobs[:300:2] + jobs[1:300:2] + jobs[300:]]

    uplynk.shown = shown
    polled(with_pages(kit, 100), clock)
    assert plans.calls["get"] == 60
    assert all(export.polls for export in every(kit)[200:340])


def test_where_pages_are_cut_it_begins_as_near(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    uplynk.cut = 25
    fall_due(kit, exports[-60:])
    polled(kit, clock)
    assert kit.page_size.size == 25
    uplynk.asked.clear()
    clock.move(seconds=10)
    fall_due(kit, exports[200:240])
    poll(kit)
    assert places(uplynk) == [744, 769, 794]
    assert {limit for _, limit in uplynk.asked} == {100}
    assert plans.calls["get"] == 0


def test_a_reading_that_the_release_before_left_is_gone_on_with(
    kit: Kit, uplynk: Listed, clock: Clock
) -> None:
    crowd(kit, uplynk, 300)
    with kit.sessions.begin() as session:
        session.add(Survey(account=ACCOUNT, skip=100, begun_at=clock(), claimed_until=clock()))
    poll(kit)
    assert places(uplynk) == [100, 200, 300]
    assert [export.polls for export in every(kit)[:200]] == [1] * 200


def test_young_jobs_behind_many_that_are_younger_still_are_found(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    exports = crowd(kit, uplynk, 600, due=0)
    with kit.sessions.begin() as session:
        for number, export in enumerate(exports):
            made_at = kit.now() - timedelta(seconds=6) + timedelta(milliseconds=10) * number
            session.get_one(Export, export.id).job_created_at = made_at
    fall_due(kit, exports[: FEW + 90])
    poll(kit)
    assert [export.polls for export in every(kit)[: FEW + 90]] == [1] * (FEW + 90)
    assert plans.calls["get"] == 0
    assert places(uplynk) == [0, 450, 550]
    assert (on_record(kit).rests_until, on_record(kit).why) == (None, None)


def test_jobs_that_were_found_again_just_now_lead_past_nothing(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    with kit.sessions.begin() as session:
        for number, export in enumerate(exports):
            made_at = kit.now() - timedelta(seconds=100) + timedelta(milliseconds=100) * number
            session.get_one(Export, export.id).job_created_at = made_at
        for export in exports[900:916]:  # the list has them from place 84 to 99
            session.get_one(Export, export.id).job_created_at = kit.now() - timedelta(seconds=1)
    fall_due(kit, exports[802:811])
    poll(kit)
    assert [export.polls for export in every(kit)[802:811]] == [1] * 9
    assert plans.calls["get"] == 0
    assert (on_record(kit).rests_until, on_record(kit).why) == (None, None)
