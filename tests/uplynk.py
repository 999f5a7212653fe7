"""Uplynk without HTTP: it makes jobs on a test's clock, and each call takes the course it is given.

For what the emulator is too slow for, and can't do: to stop the world in the middle of a call.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from threading import Lock

from tests.factories import ACCOUNT, Clock
from worker.cloudslicer import CloudSlicer, Job, JobState
from worker.cloudslicer.asset import Asset
from worker.cloudslicer.reply import NOT_FOUND, REFUSED
from worker.errors import OutcomeUnknown, Permanent, Transient

ERASED_AFTER = timedelta(hours=72)
# What is said of a job that is to be deleted where its id is left out.
NOTHING = "nothing"


class Killed(BaseException):
    """The worker died here: nothing of it is caught, and nothing after it is done."""


class End(StrEnum):
    """How a call ends for the worker that makes it."""

    ANSWERED = "answered"
    REFUSED = "refused"  # nothing is done
    NEVER_MADE = "never made"  # no connection: surely nothing is done
    UNHEARD = "unheard"  # the connection broke; nothing was done
    UNANSWERED = "unanswered"  # the connection broke; it was done
    DIED_BEFORE = "died before"  # the worker was killed, and nothing was done
    DIED_AFTER = "died after"  # the worker was killed, and it was done


DONE = frozenset({End.ANSWERED, End.UNANSWERED, End.DIED_AFTER})


@dataclass(frozen=True, slots=True)
class Course:
    """What a call comes to.

    Attributes:
        end: how it ends.
        before: what happens elsewhere before Uplynk has it.
        after: what happens elsewhere after that, and before the worker knows.
    """

    end: End = End.ANSWERED
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None


class Plans:
    """The courses that the next calls are to take, by the name of the call; then all goes well."""

    def __init__(self) -> None:
        self.calls = Counter[str]()
        self._lock = Lock()
        self._courses: dict[str, deque[Course]] = defaultdict(deque)

    def plan(self, call: str, course: Course) -> None:
        """Have the next such call that has no course yet take this one."""
        self._courses[call].append(course)

    def clear(self) -> None:
        """Have everything go well from now on."""
        self._courses.clear()

    def __call__(self, call: str) -> Course:
        """Return the course of a call that is being made."""
        with self._lock:
            self.calls[call] += 1
            courses = self._courses[call]
            return courses.popleft() if courses else Course()


@dataclass(frozen=True, slots=True)
class Made:
    """A job as Uplynk has it, with what it will never tell."""

    job: Job
    made_at: datetime
    shown_at: datetime


class Uplynk(CloudSlicer):
    """A Cloud Slicer of the test's own.

    Args:
        clock: the time, which is the workers' too.
        url: where every file is.
        course: gives the course of each call, by its name.
        lag: how long a new job is missing in the list.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        course: Callable[[str], Course],
        url: str = "http://127.0.0.1:1/film.mp4",
        lag: timedelta = timedelta(),
    ) -> None:
        self.owner = ACCOUNT
        self._lock = Lock()
        self.made: dict[str, Made] = {}
        self.deleted: set[str] = set()
        self.says: dict[str, str] = {}  # of jobs that are to be deleted
        self.asked_to_delete: list[list[str]] = []
        self._clock, self._url, self._course, self._lag = clock, url, course, lag

    def create_export(self, asset: str, *, aaclc: bool) -> Job:
        """Make a job, which is paid for."""

        def make() -> str:
            now = self._clock()
            with self._lock:  # several may be asked for side by side
                number = f"job-{len(self.made) + 1}"
                job = Job(
                    id=number,
                    word=JobState.ASSIGNED,
                    asset=asset,
                    is_export=True,
                    aaclc=True if aaclc else None,  # leaving it out means HE-AAC
                )
                self.made[number] = Made(job, now, now + self._lag)
            return number

        return self._known(self._called("create_export", make, once=True))

    def get_job(self, job_id: str) -> Job:
        """Return the job, if it was not erased."""
        self._called("get", lambda: job_id)
        return self._known(job_id)

    def list_jobs(self, *, limit: int, skip: int = 0) -> list[Job]:
        """Return a page of the jobs that the list has by now, the newest first."""
        self._called("list", lambda: "")
        now = self._clock()
        shown = [
            made.job
            for made in reversed(self.made.values())
            if made.shown_at <= now and not self.is_erased(made.job)
        ]
        return shown[skip : skip + limit]

    def cancel_job(self, job_id: str) -> Job:
        """Stop the job, if it has not ended."""

        def cancel() -> str:
            if self._known(job_id).word != JobState.ASSIGNED:
                raise Permanent(REFUSED, "the job has completed")
            self.finish(job_id, JobState.CANCELLED)
            return job_id

        return self._known(self._called("cancel", cancel))

    def delete_jobs(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Forget the jobs, but for those of which something else is to be said, or nothing."""
        self.asked_to_delete.append(list(job_ids))
        words: dict[str, str] = {}

        def delete() -> str:
            for each in job_ids:
                word = self.says[each] if each in self.says else self._deleted(each)
                if word != NOTHING:
                    words[each] = word
            return ""

        self._called("delete", delete)
        return words

    def _deleted(self, job_id: str) -> str:
        made = self.made.get(job_id)
        if made is None or self.is_erased(made.job):
            return "Not found"
        self.deleted.add(job_id)
        return "deleted"

    def get_asset(self, asset_id: str) -> Asset:
        """Return the asset, of a duration that nobody knows."""
        return Asset(id=self._called("asset", lambda: asset_id))

    def get_assets(self, asset_ids: Sequence[str]) -> dict[str, Asset]:
        """Return the assets, of durations that nobody knows."""
        self._called("asset", lambda: "")
        return {each: Asset(id=each) for each in asset_ids}

    def finish(self, job_id: str, state: JobState) -> None:
        """End a job that has not ended yet."""
        made = self.made[job_id]
        if made.job.word == JobState.ASSIGNED:
            url = self._url if state is JobState.DONE else None
            job = replace(made.job, word=state, finished_at=self._clock(), url=url)
            self.made[job_id] = replace(made, job=job)

    def is_erased(self, job: Job) -> bool:
        """Return whether Uplynk knows it no more."""
        if job.id in self.deleted:
            return True
        return job.finished_at is not None and self._clock() - job.finished_at >= ERASED_AFTER

    def _known(self, job_id: str) -> Job:
        made = self.made.get(job_id)
        if made is None or self.is_erased(made.job):
            raise Permanent(NOT_FOUND, "Not found")
        return made.job

    def _called(self, name: str, effect: Callable[[], str], *, once: bool = False) -> str:
        """Have the call take its course; returns what the effect returned."""
        course = self._course(name)
        course.before()
        unsure = OutcomeUnknown if once else Transient
        returned = effect() if course.end in DONE else ""
        course.after()
        match course.end:
            case End.REFUSED:
                raise Permanent(REFUSED, "no")
            case End.NEVER_MADE:
                raise Transient("uplynk_unreachable", "no connection")
            case End.UNHEARD | End.UNANSWERED:
                raise unsure("uplynk_unavailable", "no answer")
            case End.DIED_BEFORE | End.DIED_AFTER:
                raise Killed
            case _:
                return returned
