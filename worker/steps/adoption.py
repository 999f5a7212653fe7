"""Adoption: the job that Uplynk made for an export, though its answer never reached us."""

from collections.abc import Generator, Iterator
from datetime import timedelta

from sqlalchemy import select

from models import Audio, Export, State
from worker.cloudslicer import Job, JobState
from worker.cloudslicer.allowance import Kind
from worker.errors import Transient
from worker.steps import listing
from worker.steps.heartbeat import Heartbeat
from worker.steps.kit import Kit

MOST_PAGES = 2000
# A list that shows nothing new on so many pages in a row is not one that can be walked.
MOST_STALE_PAGES = 3
# A list that others take jobs off is read so often at the most. Whoever concludes that a job is not
# there looks twice at least.
MOST_READINGS = 3

# Clocks differ: a job that ended this long before we asked was surely not made for us.
CLOCK_MARGIN = timedelta(minutes=15)

FRUITLESS = frozenset({JobState.ERROR, JobState.CANCELLED})


def find(kit: Kit, export: Export, heartbeat: Heartbeat) -> Job | None:
    """Return the job in Uplynk's list that can only be this export's, or None if there is none.

    That is an export job of its asset, not of another audio codec, not ended before we ever asked,
    and no other export's. Where `args` shows the codec of no job at all, a job without it may be of
    either codec: it is this export's unless the other codec is just being asked for, or was when
    Uplynk listed the job.

    Raises:
        Transient: the list can't be read to its end, or a job can't be told from another export's,
            so that neither presence nor absence is known.
        Permanent: Uplynk refused to list.
        ClaimLost: somebody else took over.
    """
    has_rival, is_aaclc = _has_rival(kit, export), export.audio is Audio.AAC_LC
    telling = False  # whether `args` shows any job's codec; then its absence means HE-AAC
    doubtful: list[Job] = []
    for page in _pages(kit):
        heartbeat.check()
        telling = telling or any(job.aaclc is not None for job in page)
        for job in _unowned(kit, [job for job in page if _is_of(job, export)]):
            # a later page may tell that this is HE-AAC: then one that wants that has it anyway
            if job.aaclc is None and not telling and (has_rival or is_aaclc):
                doubtful.append(job)
            elif _is_wanted(job, export, telling=telling):
                return _told_apart(kit, export, job, telling=telling)
    if has_rival and not telling and doubtful:
        raise _doubt()
    for job in doubtful:
        if _is_wanted(job, export, telling=telling):
            return _told_apart(kit, export, job, telling=telling)
    return None


def _told_apart(kit: Kit, export: Export, job: Job, *, telling: bool) -> Job:
    """Return the job, unless somebody began to ask for the other codec before it was listed.

    Raises:
        Transient: it may be that one's.
    """
    if job.aaclc is None and not telling and _has_rival(kit, export):
        raise _doubt()
    return job


def _doubt() -> Transient:
    return Transient(
        "outcome_unknown", "a job of this asset may be this export's, or one of another codec"
    )


def _has_rival(kit: Kit, export: Export) -> bool:
    """Return whether the same asset is just being asked for in the other codec.

    Its job may be in the list before the answer is here. Where nobody is at it, its job can't be
    told from ours by waiting either.
    """
    query = select(Export.id).where(
        Export.account == export.account,
        Export.asset == export.asset,
        Export.audio != export.audio,
        Export.state == State.SUBMITTING,
        Export.claim.is_not(None),
    )
    with kit.sessions.begin() as session:
        return session.scalars(query).first() is not None


def _is_of(job: Job, export: Export) -> bool:
    asked = export.asked_at or export.created_at
    # one that came to nothing is no loss if it is taken for an earlier one; but nothing would ever
    # be asked again if an earlier one were taken for ours
    margin = timedelta() if job.state in FRUITLESS else CLOCK_MARGIN
    is_late_enough = job.finished_at is None or job.finished_at > asked - margin
    return job.is_export and job.asset == export.asset and is_late_enough


def _is_wanted(job: Job, export: Export, *, telling: bool) -> bool:
    aaclc = False if job.aaclc is None and telling else job.aaclc
    return aaclc is None or aaclc == (export.audio is Audio.AAC_LC)


def _unowned(kit: Kit, jobs: list[Job]) -> list[Job]:
    """Return those of the jobs that no export has."""
    if not jobs:
        return []
    query = select(Export.job_id).where(Export.job_id.in_([job.id for job in jobs]))
    with kit.sessions.begin() as session:
        owned = set(session.scalars(query))
    return [job for job in jobs if job.id not in owned]


def _pages(kit: Kit) -> Iterator[list[Job]]:
    """Give the list page by page, to its end; some jobs may come twice.

    Where it grew shorter while it was read, what moved up was not seen: then it is read anew.
    """
    for _ in range(MOST_READINGS):
        if not (yield from _reading(kit)):
            return


def _reading(kit: Kit) -> Generator[list[Job], None, bool]:
    """Give the list page by page, each job once, until a page is empty.

    A page may be shorter than what was asked for, as the server may cut it; and jobs made meanwhile
    move the others down, so that pages overlap. Each page begins with the last job of the one
    before: where that is not there, jobs were deleted or erased meanwhile, and the others moved up.

    Returns:
        Whether that happened.
    """
    known: set[str] = set()
    stale = skip = overlap = 0
    has_moved = False
    for _ in range(MOST_PAGES):
        kit.allowance.take(Kind.SUBMIT)
        page = listing.page(kit, skip - overlap)
        if overlap and (not page or page[0].id not in known):
            has_moved = True
        if not page:
            return has_moved
        fresh = [job for job in page if job.id not in known]
        if not fresh and len(page) <= overlap:  # the end, or a server that gives one at a time
            overlap = 0
            continue
        stale = 0 if fresh else stale + 1
        if stale == MOST_STALE_PAGES:
            break
        yield fresh
        known.update(job.id for job in fresh)
        skip += len(page) - overlap
        overlap = 1
    raise Transient("list_too_long", f"Uplynk's list of jobs has no end after {len(known)}")
