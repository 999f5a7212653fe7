"""Clean: jobs whose files are stored go off Uplynk's list, once, and in their time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from models import Breaker, Captions, Cleaning, Export, State
from tests.factories import ACCOUNT, Clock, build_export, make_export, make_kit, make_settings
from tests.raw_server import http, raw_server
from tests.uplynk import NOTHING, Course, End, Killed, Plans, Uplynk
from worker import pace
from worker.cloudslicer import JobState
from worker.cloudslicer.allowance import Kind
from worker.errors import Permanent, Transient
from worker.steps import Kit, Step, Wake, captions, clean, download, poll, submit, sweep
from worker.steps.disposal import A_MOMENT, AGAIN, MOST_CALLS, MOST_IDS, REST, REST_REFUSED

Sessions = sessionmaker[Session]

HOUR = timedelta(hours=1)


@pytest.fixture
def kit(kit: Kit, tmp_path: Path) -> Kit:
    """Give a kit that deletes jobs an hour after they were stored; it has swept once."""
    kit = replace(kit, settings=make_settings(tmp_path, delete_jobs_after_hours=1))
    sweep(kit)
    return kit


def stored(kit: Kit, uplynk: Uplynk, **members: Any) -> Export:
    """Return a stored export whose job is to be deleted now."""
    job = uplynk.create_export("a" * 32, aaclc=False)
    uplynk.finish(job.id, JobState.DONE)
    now = kit.now()
    values = {"due_at": None, "job_id": job.id, "job_finished_at": now, "job_delete_at": now}
    return make_export(kit.sessions, state=State.STORED, **{**values, **members})


def delete_at(kit: Kit, export: Export) -> Any:
    with kit.sessions.begin() as session:
        return session.get_one(Export, export.id).job_delete_at


def left(uplynk: Uplynk) -> list[str]:
    """Return the jobs that Uplynk has."""
    return sorted(uplynk.made.keys() - uplynk.deleted)


def rests_until(kit: Kit) -> Any:
    with kit.sessions.begin() as session:
        return session.get_one(Cleaning, ACCOUNT).jobs_rest_until


def test_a_job_is_deleted_in_its_time_and_once(kit: Kit, clock: Clock, uplynk: Uplynk) -> None:
    export = stored(kit, uplynk, job_delete_at=clock() + HOUR)
    assert sweep(kit).wakes == (Wake(Step.CLEAN, at=clock() + HOUR),)
    assert clean(kit).wakes == (Wake(Step.CLEAN, at=clock() + HOUR),)
    assert uplynk.asked_to_delete == []
    clock.move(hours=1)
    assert Wake(Step.CLEAN) in sweep(kit).wakes
    assert clean(kit).facts == {"jobs": 1}
    assert left(uplynk) == []
    assert delete_at(kit, export) is None
    assert clean(kit).wakes == ()
    assert uplynk.asked_to_delete == [[export.job_id]]


@pytest.mark.parametrize("word", ["deleted", "Deleted ", "Not found", "Job does not exist"])
def test_a_job_that_is_not_there_any_more_is_done_with(kit: Kit, uplynk: Uplynk, word: str) -> None:
    export = stored(kit, uplynk)
    uplynk.says[str(export.job_id)] = word
    assert clean(kit).facts == {"jobs": 1}
    assert delete_at(kit, export) is None


@pytest.mark.parametrize("word", ["Job is assigned", NOTHING, "", " ", "not deleted", "?\0\ud800"])
def test_a_job_that_is_not_deleted_is_tried_again_until_uplynk_erases_it(
    kit: Kit, clock: Clock, uplynk: Uplynk, word: str
) -> None:
    export, other = stored(kit, uplynk), stored(kit, uplynk)
    uplynk.says[str(export.job_id)] = word
    ended_at = clock()
    assert clean(kit).facts == {"jobs": 1}
    assert delete_at(kit, other) is None
    times = 1
    while at := delete_at(kit, export):
        assert at == clock() + AGAIN
        clock.time = at
        clean(kit)
        times += 1
    assert times == len(uplynk.asked_to_delete) == 72
    assert clock() < ended_at + pace.JOB_ERASED_AFTER


def test_a_hundred_go_in_a_call_and_a_message_makes_a_few(
    kit: Kit, clock: Clock, uplynk: Uplynk
) -> None:
    number = MOST_IDS * MOST_CALLS + 1
    with kit.sessions.begin() as session:
        session.add_all(
            build_export(state=State.STORED, due_at=None, job_id=f"j{each}", job_delete_at=clock())
            for each in range(number)
        )
    report = clean(kit)
    assert report.facts == {"jobs": number - 1}
    assert [len(ids) for ids in uplynk.asked_to_delete] == [MOST_IDS] * MOST_CALLS
    assert report.wakes == (Wake(Step.CLEAN, at=clock()),)
    assert clean(kit).facts == {"jobs": 1}
    asked = [each for ids in uplynk.asked_to_delete for each in ids]
    assert len(asked) == len(set(asked)) == number


@pytest.mark.parametrize("end", [End.DIED_AFTER, End.DIED_BEFORE])
def test_who_dies_at_it_leaves_it_to_the_next(
    kit: Kit, clock: Clock, plans: Plans, uplynk: Uplynk, end: End
) -> None:
    export = stored(kit, uplynk)
    plans.plan("delete", Course(end))
    with pytest.raises(Killed):
        clean(kit)
    assert clean(kit).facts == {}, "as long as the other may be at it"
    clock.time = delete_at(kit, export)
    assert clean(kit).facts == {"jobs": 1}
    assert (delete_at(kit, export), left(uplynk)) == (None, [])


def test_two_at_once_delete_each_job_once(
    kit: Kit, plans: Plans, uplynk: Uplynk, sessions: Sessions
) -> None:
    exports = [stored(kit, uplynk) for _ in range(MOST_IDS + 5)]
    plans.plan("delete", Course(before=lambda: took(clean(kit).facts)))
    others: list[Any] = []

    def took(facts: Any) -> None:
        others.append(facts)

    assert clean(kit).facts == {"jobs": MOST_IDS}
    assert others == [{"jobs": 5}]
    asked = [each for ids in uplynk.asked_to_delete for each in ids]
    assert sorted(asked) == sorted(str(export.job_id) for export in exports)
    with sessions.begin() as session:
        assert session.query(Export).where(Export.job_delete_at.is_not(None)).count() == 0


def test_several_workers_do_each_other_no_harm(
    kit: Kit, tmp_path: Path, emulator: Emulator, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        session.add_all(
            build_export(
                state=State.STORED, due_at=None, job_id=f"{each:032x}", job_delete_at=kit.now()
            )
            for each in range(250)
        )

    def work(_: int) -> object:
        other = make_kit(sessions, tmp_path, emulator=emulator, delete_jobs_after_hours=1)
        return clean(replace(other, now=kit.now)).facts.get("jobs", 0)

    with ThreadPoolExecutor(3) as pool:
        assert sum(int(str(each)) for each in pool.map(work, range(3))) == 250
    assert emulator.control.calls()["calls"]["jobs/delete"] <= 5


def test_only_jobs_of_our_own_stored_exports_are_named(
    kit: Kit, clock: Clock, uplynk: Uplynk
) -> None:
    ours = stored(kit, uplynk)
    stored(kit, uplynk, account="f" * 32)
    stored(kit, uplynk, job_delete_at=None)
    stored(kit, uplynk, job_id=None)
    for state in set(State) - {State.STORED}:
        make_export(
            kit.sessions, state=state, job_id=f"job of {state}", job_delete_at=clock() - HOUR
        )
    clean(kit)
    assert uplynk.asked_to_delete == [[ours.job_id]]


def test_while_captions_are_still_to_be_asked_for_the_job_stays(
    kit: Kit, clock: Clock, uplynk: Uplynk
) -> None:
    export = stored(kit, uplynk, captions=Captions.UNKNOWN, captions_due_at=clock() + HOUR)
    assert clean(kit).facts == {}
    assert {wake.step for wake in sweep(kit).wakes} == {Step.CAPTIONS}
    with kit.sessions.begin() as session:
        session.get_one(Export, export.id).captions_due_at = None
    assert clean(kit).facts == {"jobs": 1}


def test_a_job_stays_while_its_captions_are_asked_for_the_last_time(
    kit: Kit, clock: Clock, uplynk: Uplynk
) -> None:
    found: list[object] = []
    with raw_server(http("403 Forbidden")) as heard:
        export = stored(
            kit,
            uplynk,
            captions=Captions.UNKNOWN,
            captions_due_at=clock(),
            state_since=clock() - pace.CAPTIONS_AGAIN[-1],
            url=f"{heard.url}/film.mp4",
        )

        def files() -> Any:
            found.append(clean(kit).facts)
            return kit.http()

        captions(replace(kit, http=files))
    assert found == [{}]
    assert delete_at(kit, export) > clock()
    clock.time = delete_at(kit, export)
    assert clean(kit).facts == {"jobs": 1}


def test_without_the_setting_nothing_is_deleted(kit: Kit, tmp_path: Path, uplynk: Uplynk) -> None:
    stored(kit, uplynk)
    kit = replace(kit, settings=make_settings(tmp_path))
    assert sweep(kit).wakes == ()
    assert (clean(kit).facts, clean(kit).wakes) == ({}, ())
    assert uplynk.asked_to_delete == []


@pytest.mark.parametrize("hours", [None, 1, 72])
def test_a_film_that_is_stored_sets_the_time_if_there_is_one(
    sessions: Sessions, tmp_path: Path, emulator: Emulator, hours: float | None
) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    emulator.control.asset(export.asset, run_seconds=0, captions=False)
    kit = make_kit(sessions, tmp_path, emulator=emulator, delete_jobs_after_hours=hours)
    submit(kit)
    with sessions.begin() as session:
        session.get_one(Export, export.id).due_at = export.due_at
    poll(kit)
    download(kit, export.id)
    with sessions.begin() as session:
        after = session.get_one(Export, export.id)
    assert after.state is State.STORED
    if hours == 1:
        assert after.job_delete_at is not None
        assert HOUR <= after.job_delete_at - after.state_since <= HOUR * 1.1
    else:  # after 72 hours Uplynk erases it by itself
        assert after.job_delete_at is None


def test_a_call_without_an_answer_is_made_again_later(
    kit: Kit, clock: Clock, plans: Plans, uplynk: Uplynk
) -> None:
    export = stored(kit, uplynk)
    for _ in range(MOST_IDS):
        stored(kit, uplynk)
    plans.plan("delete", Course(End.UNANSWERED))
    report = clean(kit)
    assert plans.calls["delete"] == 1, "the others wait too"
    assert report.wakes == (Wake(Step.CLEAN, at=clock() + REST),)
    assert sweep(kit).wakes == (Wake(Step.CLEAN, at=clock() + REST),)
    clean(kit)
    assert plans.calls["delete"] == 1
    clock.time += REST
    assert clean(kit).facts == {"jobs": MOST_IDS + 1}
    assert delete_at(kit, export) is None


def test_what_was_not_answered_until_uplynk_erases_it_is_left(
    kit: Kit, clock: Clock, plans: Plans, uplynk: Uplynk
) -> None:
    long_ago = clock() - pace.JOB_ERASED_AFTER
    export = stored(kit, uplynk, job_finished_at=long_ago)
    plans.plan("delete", Course(End.UNHEARD))
    clean(kit)
    assert delete_at(kit, export) is None


def refusing(uplynk: Uplynk, refuses: Callable[[list[str]], bool]) -> None:
    """Have Uplynk refuse a whole call."""
    deleted = uplynk.delete_jobs

    class Picky(Uplynk):
        def delete_jobs(self, job_ids: Any) -> dict[str, str]:
            if refuses(list(job_ids)):
                self.asked_to_delete.append(list(job_ids))
                raise Permanent("uplynk_refused", "no")
            return deleted(job_ids)

    uplynk.__class__ = Picky


def test_where_so_many_are_refused_fewer_are_named(kit: Kit, uplynk: Uplynk) -> None:
    for _ in range(25):
        stored(kit, uplynk)
    refusing(uplynk, lambda ids: len(ids) > 10)
    while clean(kit).facts:
        pass
    assert left(uplynk) == []
    assert rests_until(kit) is None


def test_where_even_one_is_refused_nothing_is_asked_for_an_hour(
    kit: Kit, clock: Clock, uplynk: Uplynk
) -> None:
    exports = [stored(kit, uplynk) for _ in range(25)]
    refusing(uplynk, lambda _: True)
    assert clean(kit).wakes == (Wake(Step.CLEAN, at=clock() + REST_REFUSED),)
    assert [len(ids) for ids in uplynk.asked_to_delete] == [25, 2, 1]
    assert sweep(kit).wakes == (Wake(Step.CLEAN, at=clock() + REST_REFUSED),)
    clean(kit)
    assert len(uplynk.asked_to_delete) == 3
    assert all(delete_at(kit, export) is not None for export in exports)
    uplynk.__class__ = Uplynk
    clock.time += REST_REFUSED
    assert clean(kit).facts == {"jobs": 24}, "the one that was refused alone is let wait"
    clock.time += REST_REFUSED
    assert clean(kit).facts == {"jobs": 1}


def test_a_job_that_spoils_every_call_holds_up_the_others_for_hours_only(
    kit: Kit, clock: Clock, uplynk: Uplynk
) -> None:
    exports = [stored(kit, uplynk) for _ in range(25)]
    bad = str(exports[0].job_id)
    refusing(uplynk, lambda ids: bad in ids)
    for _ in range(10):  # in which order they are tried is the database's affair
        clean(kit)
        clock.time += AGAIN
    assert left(uplynk) == [bad]


def test_while_uplynk_is_away_nothing_is_asked(
    kit: Kit, clock: Clock, plans: Plans, uplynk: Uplynk
) -> None:
    export = stored(kit, uplynk)
    probe_at = clock() + timedelta(seconds=30)
    with kit.sessions.begin() as session:
        row = Breaker(name=f"uplynk:{ACCOUNT}", failures=5, probes=0)
        row.opened_at, row.probe_at = clock(), probe_at
        session.add(row)
    assert clean(kit).wakes == (Wake(Step.CLEAN, at=probe_at),)
    assert (plans.calls.total(), delete_at(kit, export)) == (1, clock())  # that made the job
    clock.time = probe_at
    assert clean(kit).facts == {"jobs": 1}


def test_its_calls_are_of_the_common_allowance(
    kit: Kit, tmp_path: Path, clock: Clock, uplynk: Uplynk
) -> None:
    for _ in range(2):
        stored(kit, uplynk)
    slow = make_kit(kit.sessions, tmp_path, uplynk_calls_per_second=0.1, now=clock)
    kit = replace(kit, allowance=slow.allowance)
    taken = 0
    while kit.allowance.take(Kind.OTHER):
        taken += 1
    assert taken > 0
    assert clean(kit).wakes == (Wake(Step.CLEAN, at=clock() + A_MOMENT),)
    assert uplynk.asked_to_delete == []


@pytest.mark.parametrize(
    ("fault", "given"),
    [
        ("status", {"status": 502}),
        ("status", {"status": 429, "retry_after": 1200}),
        ("error", {"code": 3, "msg": "Bad signature"}),
        ("html", {}),
        ("empty", {}),
        ("reset_after", {}),
        ("error_after", {"code": 9, "msg": "Oops"}),
    ],
)
def test_whatever_becomes_of_the_call_the_job_is_gone_in_the_end(
    kit: Kit, tmp_path: Path, clock: Clock, emulator: Emulator, fault: str, given: dict[str, Any]
) -> None:
    real = make_kit(kit.sessions, tmp_path, emulator=emulator, now=clock, delete_jobs_after_hours=1)
    export = make_export(kit.sessions, state=State.REQUESTED, due_at=clock())
    emulator.control.asset(export.asset, run_seconds=0)
    submit(real)
    with kit.sessions.begin() as session:
        after = session.get_one(Export, export.id)
        after.state, after.due_at, after.job_delete_at = State.STORED, None, clock()
        after.job_finished_at = clock()
    emulator.control.fault("jobs/delete", fault, times=1, **given)
    report = clean(real)
    assert report.facts == {}
    [wake] = report.wakes
    assert wake.at is not None
    assert timedelta(minutes=5) <= wake.at - clock() <= 2 * HOUR
    assert clean(real).facts == {}
    clock.time = wake.at
    assert clean(real).facts["jobs"] == 1
    assert not any(job.is_export for job in real.slicer.list_jobs(limit=10))
    assert delete_at(kit, export) is None


def test_a_reply_without_actions_is_no_answer(
    kit: Kit, tmp_path: Path, clock: Clock, uplynk: Uplynk
) -> None:
    export = stored(kit, uplynk)
    body = b'{"error": 0, "actions": "all done"}'
    with raw_server(http(body=body)) as heard:
        real = make_kit(
            kit.sessions,
            tmp_path,
            now=clock,
            uplynk_api_url=heard.url,
            delete_jobs_after_hours=1,
        )
        with pytest.raises(Transient):
            real.slicer.delete_jobs(["j"])
        assert clean(real).facts == {}
    assert delete_at(kit, export) == clock() + REST
