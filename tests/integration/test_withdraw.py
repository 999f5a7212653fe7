"""Withdraw: what is wanted again while its job is being stopped is not paid for anew."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from models import Export, State
from tests.factories import Clock, an_asset, make_kit
from tests.uplynk import Course, Plans, Uplynk
from worker import steps
from worker.cloudslicer import JobState

Sessions = sessionmaker[Session]


@pytest.mark.parametrize(
    ("ended_as", "jobs", "state"),
    [(JobState.DONE, 1, State.DOWNLOADING), (JobState.ERROR, 2, State.EXPORTING)],
)
def test_a_request_that_comes_back_while_its_job_is_stopped_gets_the_file_that_is_there(
    sessions: Sessions, tmp_path: Path, ended_as: JobState, jobs: int, state: State
) -> None:
    clock, plans = Clock(), Plans()
    uplynk = Uplynk(clock, course=plans)
    kit = replace(make_kit(sessions, tmp_path, now=clock), slicer=uplynk)
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
    with sessions.begin() as session:
        exports = session.scalars(select(Export).order_by(Export.created_at)).all()
    assert len(uplynk.made) == jobs
    assert exports[-1].state is state
