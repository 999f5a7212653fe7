"""Adoption: the job that Uplynk made for an export, though its answer never reached us."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import select

from models import Audio, Export
from worker.cloudslicer import Job
from worker.errors import Permanent, Transient
from worker.steps.kit import Kit

# How many jobs are asked for at once. Uplynk has a maximum that it doesn't publish: where a page is
# refused, a smaller one is tried.
PAGES = (100, 50, 25, 10)
MOST_PAGES = 100

# Clocks differ: a job that ended this long before we asked was surely not made for us.
CLOCK_MARGIN = timedelta(minutes=15)


def find(kit: Kit, export: Export) -> Job | None:
    """Return the job in Uplynk's list that can only be this export's, or None if there is none.

    That is an export job of its asset, not of another audio codec as far as `args` tells, not
    ended before we ever asked, and no other export's.

    Raises:
        Transient: the list can't be read to its end, so absence is not known.
        Permanent: Uplynk refused to list.
    """
    seen = list(_jobs(kit))
    # where `args` tells the codec of any job, its absence means HE-AAC; else it means nothing
    telling = any(job.aaclc is not None for job in seen)
    fitting = [job for job in seen if _fits(job, export, telling=telling)]
    with kit.sessions.begin() as session:
        ids = [job.id for job in fitting]
        owned = set(session.scalars(select(Export.job_id).where(Export.job_id.in_(ids))))
    return next((job for job in fitting if job.id not in owned), None)


def _fits(job: Job, export: Export, *, telling: bool) -> bool:
    if not job.is_export or job.asset != export.asset:
        return False
    wanted = export.audio is Audio.AAC_LC
    aaclc = False if job.aaclc is None and telling else job.aaclc
    if aaclc is not None and aaclc != wanted:
        return False
    asked = export.asked_at or export.created_at
    return job.finished_at is None or job.finished_at > asked - CLOCK_MARGIN


def _jobs(kit: Kit) -> Iterator[Job]:
    """Walk the list page by page, each job once, until a page shows nothing new.

    A page may be shorter than what was asked for, as the server may cut it; and jobs made meanwhile
    move the others down, so that pages overlap.
    """
    known: set[str] = set()
    skip = 0
    limit, page = _first_page(kit)
    for _ in range(MOST_PAGES):
        fresh = [job for job in page if job.id not in known]
        if not fresh:
            return
        yield from fresh
        known.update(job.id for job in fresh)
        skip += len(page)
        page = kit.slicer.list_jobs(limit=limit, skip=skip)
    raise Transient("list_too_long", f"Uplynk's list of jobs has no end after {len(known)}")


def _first_page(kit: Kit) -> tuple[int, list[Job]]:
    """Return the largest page size that is not refused, and the first page."""
    *sizes, least = PAGES
    for limit in sizes:
        with suppress(Permanent):
            return limit, kit.slicer.list_jobs(limit=limit)
    return least, kit.slicer.list_jobs(limit=least)
