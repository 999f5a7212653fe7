"""Places: the list is read where jobs are due, and all of it where they are not found there."""

from datetime import timedelta

import pytest

from tests.crowd import APART, Listed, crowd, every, fall_due, on_record, polled, with_pages
from tests.factories import Clock, an_asset
from tests.uplynk import Course, End, Killed, Plans
from worker.cloudslicer import Job
from worker.steps import Kit, poll
from worker.steps.survey import FEW, TURN


@pytest.fixture
def uplynk(clock: Clock, plans: Plans) -> Listed:
    return Listed(clock, course=plans)


def places(uplynk: Listed) -> list[int]:
    return [skip for skip, _ in uplynk.asked]


def test_a_reading_begins_where_the_newest_is_that_is_due(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    exports = crowd(kit, uplynk, 1000, due=0)
    fall_due(kit, exports[:120])  # the oldest, which the list has last
    poll(kit)
    assert places(uplynk) == [800, 900]
    assert plans.calls["get"] == 0
    assert [export.polls for export in every(kit)] == [1] * 200 + [0] * 800


def test_what_is_not_due_is_passed_over(kit: Kit, uplynk: Listed, plans: Plans) -> None:
    exports = crowd(kit, uplynk, 2000, due=0)
    fall_due(kit, exports[:30])
    fall_due(kit, exports[1000:1020])
    fall_due(kit, exports[-40:])
    poll(kit)
    assert places(uplynk) == [0, 900, 1900]
    assert plans.calls["get"] == 0
    assert all(export.polls == 1 for export in [*every(kit)[:30], *every(kit)[1000:1020]])


def test_few_that_are_far_apart_are_seen_with_a_page_each(
    kit: Kit, uplynk: Listed, plans: Plans
) -> None:
    exports = crowd(kit, uplynk, 3000, due=0)
    fall_due(kit, exports[::200])
    poll(kit)
    assert plans.calls["list"] <= 15
    assert plans.calls["get"] == 0
    assert all(export.polls == 1 for export in every(kit)[::200])


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
    assert places(uplynk)[0] == 300
    assert plans.calls["list"] <= 6


def test_each_is_looked_at_once_in_its_time_however_many_wait(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    kit = with_pages(kit, 40)
    exports = crowd(kit, uplynk, 2000)  # fifty pages
    with kit.sessions.begin() as session:
        for number, export in enumerate(exports):  # due at any time
            session.add(export)
            export.due_at = clock() + timedelta(seconds=number * 7 % 300)
            export.job_created_at = clock() - timedelta(hours=20) + number * APART
    for _ in range(60):
        plans.plan("list", Course(before=lambda: clock.move(seconds=1)))
    begun = clock()
    while clock() - begun < timedelta(seconds=310):
        poll(kit)
        clock.move(seconds=1)
    first, cycles = plans.calls["list"], 2
    looks = sum(export.polls for export in every(kit))
    for _ in range(60 * cycles):
        plans.plan("list", Course(before=lambda: clock.move(seconds=1)))
    begun = clock()
    while clock() - begun < cycles * timedelta(seconds=300):
        poll(kit)
        clock.move(seconds=1)
    assert first <= 60
    assert sum(export.polls for export in every(kit)) - looks <= 1.25 * cycles * len(exports)
    assert plans.calls["list"] - first <= 1.25 * cycles * 50
    assert plans.calls["get"] == 0


def test_a_list_that_begins_with_the_oldest_is_read_from_its_top(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    exports = crowd(kit, uplynk, 600, due=0)
    fall_due(kit, exports[200:400])
    uplynk.shown = lambda jobs: jobs[::-1]
    polled(kit, clock)
    assert places(uplynk) == [100, 0, 100, 200, 300]
    assert plans.calls["get"] == 0
    assert all(export.polls for export in every(kit)[200:400])


def test_few_are_not_looked_for_in_all_of_a_list_in_another_order(
    kit: Kit, uplynk: Listed, plans: Plans, clock: Clock
) -> None:
    kit = with_pages(kit, 10)
    exports = crowd(kit, uplynk, 600, due=0)
    fall_due(kit, exports[300 : 300 + FEW + 2])  # sixty pages
    uplynk.shown = lambda jobs: jobs[::-1]
    polled(kit, clock)
    assert plans.calls["list"] == 1
    assert plans.calls["get"] >= FEW
    assert all(export.polls == 1 for export in every(kit)[300 : 300 + FEW + 2])
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
    assert places(uplynk)[0] == 700  # the list ends before
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
    assert places(uplynk) == [600, 700, 700, 800]
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
    assert places(uplynk) == [100, 0]
    assert on_record(kit).is_whole
    polled(kit, clock)
    assert places(uplynk) == [100, 0, 100, 200, 300]
    assert not on_record(kit).is_whole
