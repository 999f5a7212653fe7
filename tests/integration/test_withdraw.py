"""Withdraw: a job that is told to stop ends its export for that reason, whoever hears of it.

And what is wanted again in the meantime is exported, and paid for once more only if it must be.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from models import Request, State, StopCause, claims
from tests.factories import Clock, an_asset, make_kit
from tests.marks import repeats
from tests.uplynk import Course, End, Killed, Plans, Uplynk
from worker import steps
from worker.cloudslicer import JobState
from worker.steps import Kit

Sessions = sessionmaker[Session]


@pytest.mark.parametrize(
    ("ended_as", "jobs", "state"),
    [(JobState.DONE, 1, State.DOWNLOADING), (JobState.ERROR, 2, State.EXPORTING)],
)
def test_a_request_that_comes_back_while_its_job_is_stopped_gets_the_file_that_is_there(
    sessions: Sessions,
    ended_as: JobState,
    jobs: int,
    state: State,
    clock: Clock,
    plans: Plans,
    uplynk: Uplynk,
    kit: Kit,
) -> None:
    steps.create(kit, "request", {"asset": an_asset()})
    steps.submit(kit)
    [job_id] = uplynk.made
    steps.cancel(sessions, "request", now=clock())

    def it_ends_and_is_wanted_again() -> None:
        uplynk.finish(job_id, ended_as)
        steps.retry(sessions, "request", now=clock())

    plans.plan("cancel", Course(before=it_ends_and_is_wanted_again))
    for _ in range(3):
        steps.poll(kit)
        steps.submit(kit)
        clock.move(minutes=1)
    assert len(uplynk.made) == jobs
    with sessions.begin() as session:
        assert session.get_one(Request, "request").state is state


@pytest.mark.parametrize(
    ("end", "jobs"),
    [(End.UNANSWERED, 2), (End.DIED_AFTER, 2), (End.UNHEARD, 1), (End.DIED_BEFORE, 1)],
)
def test_a_request_that_comes_after_an_unheard_stop_is_exported_all_the_same(
    sessions: Sessions, end: End, jobs: int, clock: Clock, plans: Plans, uplynk: Uplynk, kit: Kit
) -> None:
    asset = an_asset()
    steps.create(kit, "leaves", {"asset": asset})
    steps.submit(kit)
    steps.cancel(sessions, "leaves", now=clock())
    plans.plan("cancel", Course(end))
    with suppress(Killed):
        steps.poll(kit)
    steps.create(kit, "comes", {"asset": asset})
    for _ in range(3):
        clock.move(minutes=1)
        steps.poll(kit)
        steps.submit(kit)
    with sessions.begin() as session:
        export = session.get_one(Request, "comes").export
        assert export is not None
        assert (export.state, export.job_id) == (State.EXPORTING, f"job-{jobs}")
        assert session.get_one(Request, "leaves").state is State.CANCELLED
    assert len(uplynk.made) == jobs
    assert plans.calls["cancel"] == 1


@pytest.mark.parametrize("end", [End.UNANSWERED, End.DIED_AFTER, End.UNHEARD, End.DIED_BEFORE])
def test_a_job_stopped_for_its_deadline_ends_so_whoever_hears_of_it(
    sessions: Sessions, end: End, clock: Clock, plans: Plans, kit: Kit
) -> None:
    steps.create(kit, "request", {"asset": an_asset()})
    steps.submit(kit)
    clock.move(hours=25)
    plans.plan("cancel", Course(end))
    with suppress(Killed):
        steps.poll(kit)
    clock.move(minutes=5)  # the claim of one who was killed is over
    steps.poll(kit)
    with sessions.begin() as session:
        export = session.get_one(Request, "request").export
        assert export is not None
        assert (export.state, export.error_code) == (State.FAILED, "export_deadline")


def test_a_job_that_ends_well_though_it_was_told_to_stop_is_taken_on(
    sessions: Sessions, clock: Clock, plans: Plans, uplynk: Uplynk, kit: Kit
) -> None:
    steps.create(kit, "request", {"asset": an_asset()})
    steps.submit(kit)
    clock.move(hours=25)
    plans.plan("cancel", Course(End.UNHEARD, after=lambda: uplynk.finish("job-1", JobState.DONE)))
    steps.poll(kit)
    clock.move(minutes=1)
    steps.poll(kit)
    with sessions.begin() as session:
        export = session.get_one(Request, "request").export
        assert export is not None
        assert (export.state, export.stop_cause) == (State.DOWNLOADING, StopCause.LATE)


def test_who_lost_the_claim_stops_no_job(
    sessions: Sessions, clock: Clock, plans: Plans, uplynk: Uplynk, kit: Kit
) -> None:
    steps.create(kit, "request", {"asset": an_asset()})
    steps.submit(kit)
    clock.move(hours=25)

    def another_takes_it() -> None:
        clock.move(minutes=5)
        with sessions.begin() as session:
            now = clock()
            until = now + timedelta(minutes=5)
            assert claims.take(session, State.EXPORTING, now=now, until=until)

    plans.plan("get", Course(after=another_takes_it))
    steps.poll(kit)
    assert plans.calls == {"create_export": 1, "get": 1}
    assert uplynk.made["job-1"].job.state is JobState.ASSIGNED


def test_a_stop_that_nobody_heard_is_not_taken_for_what_somebody_else_did(
    sessions: Sessions, clock: Clock, plans: Plans, uplynk: Uplynk, kit: Kit
) -> None:
    asset = an_asset()
    steps.create(kit, "leaves", {"asset": asset})
    steps.submit(kit)
    steps.cancel(sessions, "leaves", now=clock())
    plans.plan("cancel", Course(End.UNHEARD))
    steps.poll(kit)
    steps.create(kit, "comes", {"asset": asset})
    for _ in range(3):
        clock.move(minutes=10)
        steps.poll(kit)
    uplynk.finish("job-1", JobState.CANCELLED)
    clock.move(minutes=10)
    steps.poll(kit)
    with sessions.begin() as session:
        request = session.get_one(Request, "comes")
        assert request.state is State.CANCELLED
        assert request.error is not None
        assert request.error[0] == "cancelled_at_uplynk"
    assert len(uplynk.made) == 1


def test_a_job_too_young_to_be_shown_is_stopped_once_it_is(
    sessions: Sessions, clock: Clock, uplynk: Uplynk, kit: Kit
) -> None:
    steps.create(kit, "request", {"asset": an_asset()})
    steps.submit(kit)
    steps.cancel(sessions, "request", now=clock())
    hidden = uplynk.made.pop("job-1")
    steps.poll(kit)
    with sessions.begin() as session:
        export = session.get_one(Request, "request").export
        assert export is not None
        assert (export.state, export.attempts) == (State.EXPORTING, 1)
    uplynk.made["job-1"] = hidden
    clock.move(minutes=1)
    steps.poll(kit)
    assert uplynk.made["job-1"].job.state is JobState.CANCELLED
    with sessions.begin() as session:
        export = session.get_one(Request, "request").export
        assert export is not None
        assert (export.state, export.error_code) == (State.CANCELLED, "cancelled")


def test_a_job_that_is_not_there_long_after_it_was_made_needs_no_stop(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    uplynk = Uplynk(clock, course=Plans())
    kit = replace(make_kit(sessions, tmp_path, now=clock), slicer=uplynk)
    steps.create(kit, "request", {"asset": an_asset()})
    steps.submit(kit)
    clock.move(minutes=11)
    steps.cancel(sessions, "request", now=clock())
    del uplynk.made["job-1"]
    steps.poll(kit)
    with sessions.begin() as session:
        export = session.get_one(Request, "request").export
        assert export is not None
        assert export.state is State.CANCELLED
        assert "knows its job no more" in (export.error_message or "")


@repeats
def test_a_job_that_cannot_be_stopped_is_not_asked_for_without_end(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    refused = Counter[str]()

    def course(call: str) -> Course:
        refused[call] += 1
        return Course(End.REFUSED if call == "cancel" else End.ANSWERED)

    uplynk = Uplynk(clock, course=course)
    kit = replace(make_kit(sessions, tmp_path, now=clock), slicer=uplynk)
    steps.create(kit, "request", {"asset": an_asset()})
    steps.submit(kit)
    steps.cancel(sessions, "request", now=clock())
    for _ in range(60):  # five minutes in which each look would find it due
        steps.poll(kit)
        clock.move(seconds=5)
    assert refused["cancel"] < 30
    for _ in range(24 * 12):
        steps.poll(kit)
        clock.move(minutes=5)
    with sessions.begin() as session:
        export = session.get_one(Request, "request").export
        assert export is not None
        assert (export.state, export.error_code) == (State.CANCELLED, "cancelled")
        assert "did not stop job job-1, which is assigned" in (export.error_message or "")
