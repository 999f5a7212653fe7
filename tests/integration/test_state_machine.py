"""The state machine, under any interleaving that hypothesis thinks of.

Calls break, hang and are answered late; workers die in the middle of them, and stand still for
longer than their claims hold while others go on; messages come twice, late or never. Whatever
happens, no job that Uplynk made is lost sight of, and none is made twice.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, groupby, pairwise
from pathlib import Path
from shutil import rmtree
from threading import Thread
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from emulator.media import Recipe, make_video
from models import Export, History, Request, State
from models.base import Base
from models.state import TERMINAL, TRANSITIONS, UNDER_WAY
from tests.envelopes import STABLE
from tests.factories import Clock, make_kit
from tests.marks import repeats
from tests.uplynk import Course, End, Killed, Plans, Uplynk
from worker import steps
from worker.cloudslicer import JobState
from worker.errors import InvalidRequest, Transient
from worker.steps import Kit
from worker.storage import Storage

Sessions = sessionmaker[Session]
Deed = tuple[str, Any]

# STATE_MACHINE_EXAMPLES=2000 looks further than CI does, and elsewhere each time.
EXAMPLES = os.environ.get("STATE_MACHINE_EXAMPLES")
PROFILE = settings(STABLE, max_examples=60, stateful_step_count=40)
if EXAMPLES:
    PROFILE = settings(PROFILE, max_examples=int(EXAMPLES), derandomize=False)

ASSETS = ("a" * 32, "b" * 32)
WORKERS = 2
DEEPEST = 3  # calls within calls; what is deeper is answered at once
MOST_ROUNDS = 500  # until everything has ended, once nothing bad happens any more

# Longer than a poll waits, a call takes, a claim holds, a step is retried, Uplynk keeps a job.
SECONDS = (1, 7, 21, 45, 130, 400, 3600, 30 * 3600, 80 * 3600)

# Which step makes which call.
MAKERS = {
    "create_export": "submit",
    "list": "submit",
    "get": "poll",
    "cancel": "poll",
    "asset": "download",
    "publish": "download",
    "delete": "clean",
}

deeds = st.one_of(
    st.just(("wait", None)),
    st.tuples(st.just("move"), st.sampled_from(SECONDS)),
    st.tuples(
        st.sampled_from(["submit", "poll", "sweep", "download", "clean"]),
        st.integers(0, WORKERS - 1),
    ),
    st.tuples(st.sampled_from(["cancel", "retry"]), st.integers(0, 9)),
    st.tuples(st.just("create"), st.tuples(st.sampled_from(ASSETS), st.booleans())),
    st.tuples(st.just("finish"), st.sampled_from([JobState.DONE, JobState.ERROR])),
)
meanwhile = st.lists(deeds, max_size=3)


class Handler(BaseHTTPRequestHandler):
    """Serves one film, whatever it is called; it has no captions."""

    film: bytes

    def do_GET(self) -> None:
        found = not self.path.endswith(".ttml")
        body = self.film if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Hooked(Storage):
    """A storage where the world goes on while a file is published, before and after it is there."""

    def __init__(self, url: str, course: Callable[[str], Course]) -> None:
        super().__init__(url)
        self._course = course

    def publish(self, *arguments: Any, **options: Any) -> str:
        course = self._course("publish")
        course.before()
        if course.end is End.DIED_BEFORE:
            raise Killed
        if course.end not in {End.ANSWERED, End.DIED_AFTER}:
            raise Transient("storage_unavailable", "no")
        url = super().publish(*arguments, **options)
        course.after()
        if course.end is End.DIED_AFTER:
            raise Killed
        return url


class Exports(RuleBasedStateMachine):
    """Workers, a CMS, Uplynk and a clock; a rule is something that one of them does."""

    sessions: ClassVar[Sessions]
    folder: ClassVar[Path]
    film_url: ClassVar[str]
    film: ClassVar[bytes]

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        with self.sessions.begin() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(table.delete())
        for name in ("exports", "scratch"):
            rmtree(self.folder / name, ignore_errors=True)
        self.clock = Clock()
        self.plans = Plans()
        self.depth = 0
        self.bounds: list[Any] = []  # times that the clock must not pass, as a call would time out
        self.refused = False
        self.stopped_elsewhere = set[str]()
        self.known: list[str] = []
        self.numbers = count(1)

    @initialize(lag=st.sampled_from([0, 19]))
    def open(self, lag: int) -> None:
        self.uplynk = Uplynk(
            self.clock, url=self.film_url, course=self.course, lag=timedelta(seconds=lag)
        )
        self.kits = [self.kit() for _ in range(WORKERS)]

    def kit(self) -> Kit:
        kit = make_kit(self.sessions, self.folder, now=self.clock, delete_jobs_after_hours=1)
        storage = Hooked(kit.settings.storage_url, self.course)
        return replace(kit, slicer=self.uplynk, storage=storage)

    # -- what may happen -------------------------------------------------------------------------

    @rule(target=requests, asset=st.sampled_from(ASSETS), aaclc=st.booleans())
    def create(self, asset: str, *, aaclc: bool) -> Any:
        request_id = f"request-{next(self.numbers)}"
        self.ask(request_id, asset, aaclc)
        return multiple(request_id)

    @rule(request_id=requests, asset=st.sampled_from(ASSETS), aaclc=st.booleans())
    def create_again(self, request_id: str, asset: str, *, aaclc: bool) -> None:
        with suppress(InvalidRequest):  # another wish by the same id
            self.ask(request_id, asset, aaclc)

    @rule(request_id=st.sampled_from(["request-2", "request-5"]))
    def cancel_by_name(self, request_id: str) -> None:
        """Cancel what may not have been asked for yet."""
        steps.cancel(self.sessions, request_id, now=self.clock())
        if request_id not in self.known:
            self.known.append(request_id)

    @rule(deed=deeds)
    def happen(self, deed: Deed) -> None:
        self.do(deed)

    @rule(code=st.sampled_from(["export_error", "uplynk_refused", "job_lost", "outcome_unknown"]))
    def retry_by_code(self, code: str) -> None:
        steps.retry_failed(self.sessions, code, now=self.clock())

    @rule(which=st.integers(0, 9))
    def cancelled_by_somebody_else(self, which: int) -> None:
        self.finish(which, JobState.CANCELLED)

    @rule(
        end=st.sampled_from(list(End)),
        before=meanwhile,
        after=meanwhile,
        call=st.sampled_from(list(MAKERS)),
        worker=st.integers(0, WORKERS - 1),
    )
    def go_wrong(
        self, end: End, before: list[Deed], after: list[Deed], call: str, worker: int
    ) -> None:
        """Have the next such call take a course of its own, and somebody make one."""
        course = Course(end, partial(self.do_all, before), partial(self.do_all, after))
        self.plans.plan(call, course)
        self.do((MAKERS[call], worker))

    @rule(rounds=st.integers(1, 4))
    def go_on(self, rounds: int) -> None:
        """Let everything take its way for a while."""
        for _ in range(rounds):
            self.do_all([("wait", None), ("submit", 0), ("poll", 1), ("download", 0)])

    def course(self, name: str) -> Course:
        if self.depth > DEEPEST:
            return Course()
        course = self.plans(name)
        self.refused |= course.end is End.REFUSED and name == "create_export"
        if name != "create_export":
            return course
        return replace(course, before=partial(self.in_time, course.before))

    def in_time(self, happen: Callable[[], None]) -> None:
        """Let things happen, but no longer than the call that is made takes at the most."""
        self.bounds.append(self.clock() + self.kits[0].settings.call)
        try:
            happen()
        finally:
            self.bounds.pop()

    def do_all(self, deeds: list[Deed]) -> None:
        self.depth += 1
        try:
            for deed in deeds:
                self.do(deed)
        finally:
            self.depth -= 1

    def do(self, deed: Deed) -> None:
        """Do it, to the end or to the death of who does it."""
        name, argument = deed
        with suppress(Killed):
            getattr(self, f"_{name}")(argument)

    def _wait(self, _: None) -> None:
        """Let time pass until there is something to do."""
        now = self.clock()
        later = [each.due_at for each in self.exports() if each.due_at and each.due_at > now]
        self._until(min(later, default=now))

    def _move(self, seconds: int) -> None:
        self._until(self.clock() + timedelta(seconds=seconds))

    def _until(self, time: datetime) -> None:
        self.clock.time = min([time, *self.bounds])

    def _submit(self, worker: int) -> None:
        steps.submit(self.kits[worker])

    def _poll(self, worker: int) -> None:
        steps.poll(self.kits[worker])

    def _download(self, worker: int) -> None:
        steps.download(self.kits[worker], UUID(int=0))  # it does what is most urgent

    def _clean(self, worker: int) -> None:
        steps.clean(self.kits[worker])

    def _sweep(self, worker: int) -> None:
        self.sweep(self.kits[worker])

    def _create(self, wish: tuple[str, bool]) -> None:
        self.ask(f"request-{next(self.numbers)}", *wish)

    def ask(self, request_id: str, asset: str, aaclc: bool) -> None:
        steps.create(self.kits[0], request_id, {"asset": asset, "aaclc": aaclc})
        if request_id not in self.known:
            self.known.append(request_id)

    def _cancel(self, which: int) -> None:
        if self.known:
            name = self.known[which % len(self.known)]
            steps.cancel(self.sessions, name, now=self.clock())

    def _retry(self, which: int) -> None:
        if self.known:
            name = self.known[which % len(self.known)]
            with suppress(InvalidRequest):  # cancelled before it was asked for
                steps.retry(self.sessions, name, now=self.clock())

    def _finish(self, state: JobState) -> None:
        self.finish(0, state)

    def finish(self, which: int, state: JobState) -> None:
        under_way = [each.job.id for each in self.uplynk.made.values() if not each.job.finished_at]
        if under_way:
            job_id = under_way[which % len(under_way)]
            self.uplynk.finish(job_id, state)
            if state is JobState.CANCELLED:
                self.stopped_elsewhere.add(job_id)

    def sweep(self, kit: Kit) -> None:
        for wake in steps.sweep(kit).wakes:
            if wake.at is None and wake.export_id is not None:
                steps.download(kit, wake.export_id)

    # -- what is true all the time ----------------------------------------------------------------

    @invariant()
    def all_is_well(self) -> None:
        exports = self.exports()
        self.no_job_is_lost_sight_of_and_none_is_made_twice(exports)
        self.only_jobs_whose_files_are_stored_are_deleted(exports)
        self.rows_are_sound(exports)

    def no_job_is_lost_sight_of_and_none_is_made_twice(self, exports: Sequence[Export]) -> None:
        """A job that no export has is one that somebody looks for, or has been told of in words."""
        owned = {each.job_id for each in exports}
        assert owned - {None} <= self.uplynk.made.keys()
        missing = Counter(
            made.job.asset for made in self.uplynk.made.values() if made.job.id not in owned
        )
        sought = Counter(each.asset for each in exports if may_have_a_job(each))
        assert missing <= sought, (missing, sought)

    def only_jobs_whose_files_are_stored_are_deleted(self, exports: Sequence[Export]) -> None:
        stored = {each.job_id for each in exports if each.state is State.STORED}
        assert {job_id for ids in self.uplynk.asked_to_delete for job_id in ids} <= stored

    def rows_are_sound(self, exports: Sequence[Export]) -> None:
        for each in exports:
            assert (each.claim is None) == (each.claimed_until is None)
            assert (each.state in UNDER_WAY) == (each.due_at is not None)
            assert each.state not in TERMINAL or each.claim is None
            assert each.state is not State.EXPORTING or each.job_id
            assert each.state is not State.DOWNLOADING or each.url
            assert each.unwanted_since is None or each.state is not State.REQUESTED
        with self.sessions.begin() as session:
            rows = session.scalars(select(History).order_by(History.export_id, History.id)).all()
        paths = {key: list(path) for key, path in groupby(rows, lambda row: row.export_id)}
        for each in exports:
            assert_is_a_path(each, paths[each.id])

    @invariant()
    def what_nobody_wants_is_not_gone_on_with(self) -> None:
        """An export under way is wanted, or it is known that it is not."""
        with self.sessions.begin() as session:
            for request in session.scalars(select(Request)):
                export = request.export
                if export is not None and request.cancelled_at is None:
                    assert export.unwanted_since is None
                    assert export.error_code != "cancelled"

    def exports(self) -> list[Export]:
        with self.sessions.begin() as session:
            return list(session.scalars(select(Export)))

    # -- how it ends ------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Once nothing bad happens any more, everything comes to a true end by itself."""
        if not hasattr(self, "kits"):
            return
        self.plans.clear()
        kit = self.kit()
        for _ in range(MOST_ROUNDS):
            due = [each.due_at for each in self.exports() if each.due_at is not None]
            if not due:
                break
            self.clock.time = max(self.clock(), min(due))
            for job_id in self.uplynk.made:
                self.uplynk.finish(job_id, JobState.DONE)
            steps.submit(kit)
            steps.poll(kit)
            self.sweep(kit)
            self.clock.move(seconds=1)
        self.all_is_well()
        while left := [each.job_delete_at for each in self.exports() if each.job_delete_at]:
            self.clock.time = max(self.clock(), min(left))
            steps.clean(kit)
        with self.sessions.begin() as session:
            for request in session.scalars(select(Request)):
                assert request.state in TERMINAL
                if request.export is not None and request.cancelled_at is None:
                    self.assert_is_true(request.export)
            for export in session.scalars(select(Export)):
                assert export.state in TERMINAL
                event(f"an export ended {export.state}, {export.error_code or 'well'}")
                if export.state is State.STORED:
                    self.assert_is_stored(export)

    def assert_is_true(self, export: Export) -> None:
        """Assert that a wish that was not withdrawn was granted, or could not be."""
        made = self.uplynk.made.get(export.job_id or "")
        match export.state, export.error_code:
            case State.STORED, _:
                pass
            case State.FAILED, "export_error":
                assert made is not None
                assert made.job.word == JobState.ERROR
            case State.CANCELLED, "cancelled_at_uplynk":
                assert made is not None
                assert made.job.id in self.stopped_elsewhere
            case State.FAILED, "job_lost":
                assert made is None or self.uplynk.is_erased(made.job)
                assert export.renewals == 1
            case State.FAILED, "export_deadline":
                assert made is not None
                assert self.clock() - made.made_at > timedelta(hours=24)
            case State.FAILED, "uplynk_refused":
                assert self.refused
            case State.FAILED, "job_taken":
                assert export.job_id is None
            case state, code:
                # it was tried for a day, or two weeks
                assert export.begun_at is not None
                assert state is State.FAILED
                assert self.clock() - export.begun_at > timedelta(hours=24), code

    def assert_is_stored(self, export: Export) -> None:
        made = self.uplynk.made[str(export.job_id)]
        assert made.job.word == JobState.DONE
        assert made.job.asset == export.asset
        path = Path(str(export.storage_url).removeprefix("file://"))
        assert path.read_bytes() == self.film


def may_have_a_job(export: Export) -> bool:
    """Return whether Uplynk may have a job of this export that is not on record.

    That is while its outcome is unknown, and where it ended so.
    """
    ended_so = export.state in TERMINAL and export.error_code not in {"cancelled", "uplynk_refused"}
    return export.job_id is None and (
        export.state is State.SUBMITTING or (ended_so and export.asked_at is not None)
    )


def assert_is_a_path(export: Export, rows: Sequence[History]) -> None:
    assert (rows[0].from_state, rows[0].to_state) == (None, State.REQUESTED)
    assert rows[-1].to_state is export.state
    for before, after in pairwise(rows):
        assert after.from_state is before.to_state
        assert after.to_state in TRANSITIONS[before.to_state]


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give a film that is whole."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    make_video(Recipe(ASSETS[0], 1.0, 64, 64), path)
    return path.read_bytes()


@pytest.fixture
def film_url(film: bytes) -> Iterator[str]:
    """Give where the film is served."""
    handler = type("Film", (Handler,), {"film": film})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/film.mp4"
        server.shutdown()
        thread.join()


@repeats
@pytest.mark.timeout(int(EXAMPLES or 0) * 5 + 600)
def test_no_interleaving_loses_an_export_or_pays_for_one_twice(
    sessions: Sessions, tmp_path: Path, film: bytes, film_url: str
) -> None:
    members = {"sessions": sessions, "folder": tmp_path, "film_url": film_url, "film": film}
    run_state_machine_as_test(type("Machine", (Exports,), members), settings=PROFILE)
