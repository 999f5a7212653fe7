"""The jobs of the account: their life cycle, and the record of all that were ever made."""

from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal
from uuid import uuid4

from emulator.refusal import Code, RefusedError
from emulator.settings import LIFE_AFTER_COMPLETION_SECONDS

FINAL = frozenset({"done", "error", "cancelled"})


@dataclass(frozen=True)
class Plan:
    """How a job will go, settled when it is made."""

    wait_seconds: float
    run_seconds: float
    retry_wait_seconds: float
    max_attempts: int
    fail_attempts: int = 0
    last_error: str = ""


@dataclass(frozen=True)
class Moment:
    """What is true of a job at one time; times are Unix seconds, 0 when unset."""

    state: str
    attempts: int
    last_start: float
    finished: float = 0.0
    progress: str = ""


@dataclass
class Job:
    """One job; everything but a cancel or a delete follows from its plan and the clock."""

    asset: str
    created: float
    plan: Plan
    kind: Literal["export", "slice"] = "export"
    aaclc: bool = False
    id: str = field(default_factory=lambda: uuid4().hex)
    slice_id: str = field(default_factory=lambda: uuid4().hex)
    cancelled: float | None = None
    deleted: float | None = None

    def at(self, now: float) -> Moment:
        """Return what is true of the job at a time."""
        if self.cancelled is not None and now >= self.cancelled:
            before = _planned(self.plan, self.created, self.cancelled)
            return Moment("cancelled", before.attempts, before.last_start, self.cancelled)
        return _planned(self.plan, self.created, now)

    def erased(self, now: float) -> bool:
        """Tell whether Uplynk would know nothing of the job any more."""
        if self.deleted is not None and now >= self.deleted:
            return True
        ended = self.cancelled
        if ended is None:
            ended = self.created + self.plan.wait_seconds + self.plan.run_seconds
        if now < ended + LIFE_AFTER_COMPLETION_SECONDS:
            return False  # at once: a list asks this of every job that it passes over
        moment = self.at(now)
        return moment.state in FINAL and now >= moment.finished + LIFE_AFTER_COMPLETION_SECONDS


def _planned(plan: Plan, created: float, now: float) -> Moment:
    """Walk through the attempts: each waits, runs, and fails as often as the plan says."""
    start, last_start = created + plan.wait_seconds, 0.0
    for failed in range(plan.max_attempts):
        end = start + plan.run_seconds
        if now < start:
            return Moment("waiting", failed, last_start)
        if now < end:
            percent = int(100 * (now - start) / plan.run_seconds)
            return Moment("assigned", failed, start, progress=f"{percent}%" if percent else "")
        if failed >= plan.fail_attempts:
            return Moment("done", failed, start, end)
        start, last_start = end + plan.retry_wait_seconds, start
    return Moment("error", plan.max_attempts, last_start, start - plan.retry_wait_seconds)


class JobStore:
    """Every job ever made, also those that Uplynk would have erased: they were paid for."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._by_slice: dict[str, Job] = {}

    def add(self, job: Job) -> Job:
        """Keep a new job."""
        self._jobs[job.id] = job
        self._by_slice[job.slice_id] = job
        return job

    def get(self, job_id: str, now: float) -> Job:
        """Return a job that is not erased.

        Raises:
            RefusedError: There is no such job, or there is none any more.
        """
        job = self._jobs.get(job_id)
        if job is None or job.erased(now):
            raise RefusedError(Code.NOT_FOUND, "Not found")
        return job

    def page(
        self, now: float, *, skip: int, limit: int, newest_first: bool, lag_seconds: float = 0.0
    ) -> list[Job]:
        """Return one page of the jobs that are not erased and old enough to be listed."""
        jobs = self._jobs.values()
        every = reversed(jobs) if newest_first else iter(jobs)
        old_enough = now - lag_seconds
        listed = (job for job in every if job.created <= old_enough and not job.erased(now))
        return list(islice(listed, skip, skip + limit))

    def cancel(self, job: Job, now: float) -> None:
        """Stop a job that is not completed."""
        state = job.at(now).state
        if state in FINAL:
            raise RefusedError(Code.STATE, f"A job that is {state} can't be cancelled")
        job.cancelled = now

    def delete(self, job_id: str, now: float) -> str:
        """Delete a job, and return "deleted" or why not."""
        try:
            job = self.get(job_id, now)
        except RefusedError as refusal:
            return refusal.message
        if job.at(now).state == "assigned":
            return "Job is assigned"
        job.deleted = now
        return "deleted"

    def known(self, job_id: str) -> Job | None:
        """Return a job, even if it is erased."""
        return self._jobs.get(job_id)

    def of_slice(self, slice_id: str) -> Job | None:
        """Return the job that made a file, even if the job is erased."""
        return self._by_slice.get(slice_id)

    def ever(self, asset: str | None = None) -> list[Job]:
        """Return all jobs ever made, or all of one asset, oldest first."""
        return [job for job in self._jobs.values() if asset in (None, job.asset)]

    def reset(self) -> None:
        """Forget every job."""
        self._jobs.clear()
        self._by_slice.clear()


def arguments(job: Job, *, echo_aaclc: bool) -> dict[str, Any]:
    """Return the job's `args`; only an export's hold `export_mp4`."""
    if job.kind == "slice":
        return {"source_name": f"{job.asset[:8]}.mov", "skip_drm": 0}
    return {"export_mp4": True} | ({"aaclc": 1} if job.aaclc and echo_aaclc else {})


def described(
    job: Job, now: float, *, owner: str, files_url: str, echo_aaclc: bool
) -> dict[str, Any]:
    """Return the job object as Uplynk documents it, with times in milliseconds."""
    moment = job.at(now)
    answer: dict[str, Any] = {
        "id": job.id,
        "state": moment.state,
        "asset": job.asset,
        "owner": owner,
        "args": arguments(job, echo_aaclc=echo_aaclc),
        "source": {},
        "attempts": moment.attempts,
        "last_error": job.plan.last_error if moment.attempts else "",
        "progress": moment.progress,
        "last_start": round(moment.last_start * 1000),
        "finished": round(moment.finished * 1000),
    }
    if moment.state == "done" and job.kind == "export":
        answer["hd_exported_url"] = f"{files_url}/slices/{job.slice_id}_g.mp4"
    return answer
