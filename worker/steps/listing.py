"""Listing: Uplynk's list of jobs, a page at a time, in pages as large as it gives."""

from contextlib import suppress

from worker.cloudslicer import Job
from worker.errors import Permanent
from worker.steps.kit import Kit


def page(kit: Kit, skip: int = 0) -> list[Job]:
    """Return the jobs of the list after the first `skip`; none where it has no more.

    Raises:
        Transient: no answer that can be read.
        Permanent: Uplynk refused, however few were asked for.
    """
    return asked(kit, skip)[0]


def asked(kit: Kit, skip: int) -> tuple[list[Job], int]:
    """Return the jobs as `page` does, and how many were asked for."""
    *larger, least = kit.page_size
    for size in larger:
        with suppress(Permanent):
            return _page(kit, size, skip), size
    return _page(kit, least, skip), least


def _page(kit: Kit, size: int, skip: int) -> list[Job]:
    with kit.circuit.watching():
        jobs = kit.slicer.list_jobs(limit=size, skip=skip)
    if not skip:  # elsewhere it may be the place that was refused
        kit.page_size.fits(size)
    return jobs
