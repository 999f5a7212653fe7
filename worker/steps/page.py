"""Page: what a page of Uplynk's list says of our exports, set down in a few statements.

Jobs that would be due a moment later get their next time as well, so that looks at jobs which wait
together come together: at the same part of their age, without the jitter of looks one by one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, case, literal, select, update
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from models import Export, State, claims, passage
from worker.cloudslicer import Job, JobState
from worker.logs import about
from worker.steps import look, withdraw
from worker.steps.kit import Kit
from worker.steps.report import Step, Wake

_COLUMNS = (
    Export.id,
    Export.asset,
    Export.job_id,
    Export.due_at,
    Export.job_state,
    Export.job_progress,
    Export.job_error,
    Export.url,
    Export.polls,
    Export.attempts,
    Export.stop_told_at,
    Export.unwanted_since,
    Export.job_created_at,
    Export.begun_at,
    Export.created_at,
    Export.state_since,
)

# Exports that are on a page, these columns of them.
Rows = Sequence[Row[Any]]


def exports(kit: Kit, session: Session, page: Sequence[Job]) -> Rows:
    """Return those of our exports under way that are on the page and free, in its order, locked."""
    rows = claims.of_jobs(session, [job.id for job in page], now=kit.now(), columns=_COLUMNS)
    by_job = {row.job_id: row for row in rows}
    return [by_job[job_id] for job_id in {job.id: None for job in page} if job_id in by_job]


def known_since(row: Row[Any]) -> datetime:
    """Return since when its job is known."""
    since: datetime = row.job_created_at or row.state_since
    return since


def are_young(kit: Kit, rows: Rows) -> bool:
    """Return whether each of them is to be looked at again as soon as may be."""
    if not rows:
        return False
    oldest = kit.now() - min(map(known_since, rows))
    return kit.until_next_look(oldest, alone=False) <= kit.settings.poll_min


def in_order(rows: Rows) -> tuple[int, int]:
    """Return how many pairs of these came as a list has them that is newest first, and of how many.

    Those that are half of the rows apart are compared: next to each other they are as those who
    asked for them at once happened to hear of them.
    """
    times = [known_since(row) for row in rows]
    half = len(times) // 2
    pairs = zip(times[:half], times[len(times) - half :], strict=True)
    return sum(one >= other for one, other in pairs), half


def medians(rows: Rows) -> list[datetime]:
    """Return since when the jobs of each quarter are known, of its median; the last one's first.

    What one job says may be off: it may be known since it was found again.
    """
    size = max(len(rows) // 4, 1)
    quarters = [rows[max(end - size, 0) : end] for end in range(len(rows), 0, -size)]
    return [sorted(map(known_since, each))[len(each) // 2] for each in quarters]


def set_down(kit: Kit, session: Session, rows: Rows, page: Sequence[Job]) -> list[Wake]:
    """Set down what the page says: of most jobs that they are as they were, and for others more."""
    now = kit.now()
    jobs = {job.id: job for job in page}
    unchanged, goes_on, done = list[Row[Any]](), list[Row[Any]](), list[Row[Any]]()
    changed = list[UUID]()
    for row in rows:
        job = jobs[row.job_id]
        if _is_to_be_asked_for(kit, row, job, now=now):
            continue
        if job.state is JobState.DONE and row.url is None:
            done.append(row)
        elif not _goes_on(row, job):
            changed.append(row.id)
        elif row.job_state == job.word and row.job_progress == (job.progress or None):
            unchanged.append(row)
        else:
            goes_on.append(row)
    _put_off(kit, session, unchanged, now=now)
    _put_off(kit, session, goes_on, now=now, how_far=jobs)
    wakes = _have_urls(session, done, jobs, now=now)
    if not changed:
        return wakes
    exports = session.scalars(
        select(Export).where(Export.id.in_(changed)).execution_options(populate_existing=True)
    ).all()
    for export in exports:
        with about(export_id=export.id):
            wakes += look.learned(kit, session, export, jobs[str(export.job_id)])
    return list(dict.fromkeys(wakes))


def _is_to_be_asked_for(kit: Kit, row: Row[Any], job: Job, *, now: datetime) -> bool:
    """Return whether the list is not enough: the job is to be stopped, or its URL is not told."""
    if job.state is JobState.DONE and job.url is None:
        return True
    is_late = job.state not in withdraw.ENDED and look.is_late(kit, row, now=now)
    return is_late or row.unwanted_since is not None


def _goes_on(row: Row[Any], job: Job) -> bool:
    """Return whether the job just runs on, as far as it may have come by now."""
    return (
        job.state not in withdraw.ENDED
        and job.finished_at is None
        and (not job.last_error or row.job_error == job.last_error)
        and row.attempts == 0
        and row.stop_told_at is None
    )


def _put_off(
    kit: Kit,
    session: Session,
    rows: Rows,
    *,
    now: datetime,
    how_far: Mapping[str, Job] | None = None,
) -> None:
    """Set down of these how far they are, if that is new, and when to look again."""
    if not rows:
        return
    times = {row.id: now + kit.until_next_look(now - known_since(row), alone=False) for row in rows}
    values = {"due_at": _of_each(times, Export.due_at.type)}
    if how_far is not None:
        jobs = {row.id: how_far[row.job_id] for row in rows}
        words = {each: job.word for each, job in jobs.items()}
        progress = {each: job.progress or None for each, job in jobs.items()}
        values["job_state"] = _of_each(words, Export.job_state.type)
        values["job_progress"] = _of_each(progress, Export.job_progress.type)
    session.execute(
        update(Export)
        .where(Export.id.in_(times))
        .values(**values, polls=Export.polls + 1, claim=None, claimed_until=None)
        .execution_options(synchronize_session=False)
    )


def _have_urls(
    session: Session, rows: Sequence[Row[Any]], jobs: Mapping[str, Job], *, now: datetime
) -> list[Wake]:
    """Set down of these that Uplynk is done, and where their files are, as a look at each would."""
    told = {row.id: _learned(row, jobs[row.job_id], now=now) for row in rows}
    passage.pass_on_together(
        session, State.EXPORTING, State.DOWNLOADING, told, now=now, reason=look.DONE
    )
    for row in rows:
        with about(export_id=row.id):
            look.tell_done(told[row.id]["polls"])
            look.trace_job(session, row, now=now)
    room = [Wake(Step.SUBMIT)] if rows else []
    return [*(Wake(Step.DOWNLOAD, row.id) for row in rows), *room]


def _learned(row: Row[Any], job: Job, *, now: datetime) -> dict[str, Any]:
    """Return the columns that say what the job has come to."""
    return {
        "job_state": job.word,
        "job_progress": job.progress or None,
        "job_error": job.last_error or row.job_error,
        "job_finished_at": job.finished_at,
        "url": job.url,
        "done_at": job.finished_at or now,
        "polls": row.polls + 1,
    }


def _of_each(values: Mapping[UUID, object], type_: TypeEngine[Any]) -> ColumnElement[Any]:
    """Return what has the value of each row: for the most part they all have the same."""
    first, *others = values.values()
    if all(other == first for other in others):
        return literal(first, type_)
    told = {each: literal(value, type_) for each, value in values.items()}
    return case(told, value=Export.id)
