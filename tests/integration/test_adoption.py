"""Adoption: of the jobs in Uplynk's list only that is taken which can be the export's own."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy.orm import Session, sessionmaker

from models import Export, Request, State
from tests.factories import Clock, an_asset, make_export, make_kit
from tests.marks import repeats
from tests.uplynk import Course, End, Killed, Plans, Uplynk
from worker import steps
from worker.cloudslicer import JobState
from worker.steps import Kit

Sessions = sessionmaker[Session]


class Interposed:
    """A factory of sessions that has something happen before one of its transactions."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._countdown = 0
        self._happens: Callable[[], None] = lambda: None

    def before(self, number: int, happens: Callable[[], None]) -> None:
        """Have it happen just before the transaction of this number from now on."""
        self._countdown, self._happens = number, happens

    def begin(self) -> AbstractContextManager[Session]:
        """Begin a transaction."""
        self._countdown -= 1
        if self._countdown == 0:
            self._happens()
        return self._sessions.begin()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sessions, name)


def of(sessions: Sessions, request_id: str) -> Export:
    with sessions.begin() as session:
        export = session.get_one(Request, request_id).export
        assert export is not None
        return export


def test_a_job_that_a_rival_has_made_meanwhile_is_left_to_it(
    sessions: Sessions, clock: Clock, plans: Plans, uplynk: Uplynk, kit: Kit
) -> None:
    asset = an_asset()
    steps.create(kit, "he-aac", {"asset": asset})
    plans.plan("create_export", Course(End.UNHEARD))
    steps.submit(kit)
    clock.move(minutes=1)

    def a_rival_asks() -> None:
        steps.create(kit, "aac-lc", {"asset": asset, "aaclc": True})
        plans.plan("create_export", Course(End.DIED_AFTER))
        with suppress(Killed):
            steps.submit(kit)
        made = uplynk.made["job-1"]  # args tell no codec
        uplynk.made["job-1"] = replace(made, job=replace(made.job, aaclc=None))

    plans.plan("list", Course(before=a_rival_asks))
    steps.submit(kit)
    assert (of(sessions, "he-aac").state, of(sessions, "he-aac").job_id) == (State.SUBMITTING, None)
    for _ in range(8):
        clock.move(minutes=2)
        steps.submit(kit)
    assert of(sessions, "aac-lc").job_id == "job-1"
    assert of(sessions, "he-aac").job_id == "job-2"
    assert len(uplynk.made) == 2


def test_a_job_that_was_found_and_is_anothers_by_now_is_looked_for_again(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock, plans = Clock(), Plans()
    uplynk, interposed = Uplynk(clock, course=plans), Interposed(sessions)
    kit = make_kit(sessions, tmp_path, now=clock)
    kit = replace(kit, slicer=uplynk, sessions=cast("Sessions", interposed))
    steps.create(kit, "request", {"asset": an_asset()})
    plans.plan("create_export", Course(End.UNANSWERED))
    steps.submit(kit)
    clock.move(minutes=1)

    def another_gets_it() -> None:
        make_export(sessions, state=State.EXPORTING, job_id="job-1")

    # after the list: who owns what, whether there is a rival, and then the job is set down
    plans.plan("list", Course(before=lambda: interposed.before(3, another_gets_it)))
    steps.submit(kit)
    export = of(sessions, "request")
    assert (export.state, export.job_id, export.error_code) == (State.SUBMITTING, None, None)
    for _ in range(3):
        clock.move(minutes=1)
        steps.submit(kit)
    assert of(sessions, "request").job_id == "job-2"


def test_a_job_that_moves_up_in_the_list_while_it_is_read_is_found(
    sessions: Sessions, tmp_path: Path, clock: Clock, plans: Plans, uplynk: Uplynk
) -> None:
    kit = replace(make_kit(sessions, tmp_path, now=clock, jobs_per_page=10), slicer=uplynk)
    steps.create(kit, "request", {"asset": an_asset()})
    plans.plan("create_export", Course(End.UNANSWERED))
    steps.submit(kit)
    others = [uplynk.create_export(an_asset(), aaclc=False).id for _ in range(21)]
    clock.move(minutes=1)
    for _ in range(2):
        plans.plan("list", Course())
    # what was read is deleted: the job is now where the list was read already, and nothing follows
    plans.plan("list", Course(before=lambda: void(uplynk.delete_jobs(others[-6:]))))
    steps.submit(kit)
    assert of(sessions, "request").job_id == "job-1"


@pytest.mark.parametrize("shorter", [1, 6])
def test_a_list_that_grew_shorter_while_it_was_read_is_read_anew(
    sessions: Sessions, tmp_path: Path, clock: Clock, plans: Plans, uplynk: Uplynk, shorter: int
) -> None:
    kit = replace(make_kit(sessions, tmp_path, now=clock, jobs_per_page=10), slicer=uplynk)
    steps.create(kit, "request", {"asset": an_asset()})
    plans.plan("create_export", Course(End.UNANSWERED))
    steps.submit(kit)
    others = [uplynk.create_export(an_asset(), aaclc=False).id for _ in range(40)]
    clock.move(minutes=1)
    plans.plan("list", Course())
    # the job moves over the place of the second page, and on to the first
    gone = [*others[-shorter:], *others[:31]]
    plans.plan("list", Course(before=lambda: void(uplynk.delete_jobs(gone))))
    steps.submit(kit)
    assert of(sessions, "request").job_id == "job-1"


def void(_: object) -> None:
    """Take what is returned, so that nothing is."""


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.ERROR])
def test_a_job_that_came_to_nothing_before_is_not_the_exports(
    sessions: Sessions, clock: Clock, plans: Plans, uplynk: Uplynk, kit: Kit, state: JobState
) -> None:
    asset = an_asset()
    uplynk.create_export(asset, aaclc=False)  # by somebody else
    uplynk.finish("job-1", state)
    clock.move(minutes=5)
    steps.create(kit, "request", {"asset": asset})
    plans.plan("create_export", Course(End.UNHEARD))
    for _ in range(4):
        steps.submit(kit)
        clock.move(minutes=1)
    assert of(sessions, "request").job_id == "job-2"


@repeats
def test_a_list_that_nobody_foresaw_ends_the_export_in_words_and_holds_up_no_other(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()

    def unforeseen() -> None:
        raise ValueError("what is this?")

    def course(call: str) -> Course:
        match call:
            case "list":
                return Course(before=unforeseen)
            case "create_export" if not uplynk.made:
                return Course(End.UNANSWERED)
        return Course()

    uplynk = Uplynk(clock, course=course)
    kit = replace(make_kit(sessions, tmp_path, now=clock), slicer=uplynk)
    steps.create(kit, "first", {"asset": an_asset()})
    steps.submit(kit)
    clock.move(minutes=1)
    steps.create(kit, "second", {"asset": an_asset()})
    steps.submit(kit)
    assert of(sessions, "first").attempts > 0
    assert of(sessions, "second").state is State.EXPORTING
    for _ in range(14):
        clock.move(hours=2)
        steps.submit(kit)
    first = of(sessions, "first")
    assert (first.state, first.error_code) == (State.FAILED, "unforeseen")
