"""Crowd: many exports at a double of Uplynk whose list of jobs is as a test wants it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.orm import make_transient_to_detached

from models import Export, State, Survey
from models.export import row_of
from tests.factories import ACCOUNT, Clock, an_asset, build_export
from tests.uplynk import Course, Uplynk
from worker.cloudslicer import Job
from worker.cloudslicer.allowance import Allowance
from worker.cloudslicer.pages import PageSize
from worker.cloudslicer.reply import REFUSED
from worker.errors import Permanent
from worker.steps import Kit, Report, Step, poll

AGE = timedelta(minutes=10)
# Jobs are made one after the other, so long apart.
APART = timedelta(milliseconds=1)


class Listed(Uplynk):
    """An Uplynk whose list is as a test wants it."""

    most: int | None = None  # a longer page is refused
    cut: int | None = None  # a longer page is cut

    def __init__(self, clock: Clock, *, course: Callable[[str], Course]) -> None:
        super().__init__(clock, course=course)
        self.shown: Callable[[list[Job]], list[Job]] = lambda jobs: jobs
        self.asked: list[tuple[int, int]] = []

    def list_jobs(self, *, limit: int, skip: int = 0) -> list[Job]:
        """Return a page of what is shown of the list."""
        self.asked.append((skip, limit))
        every = super().list_jobs(limit=1_000_000)
        if self.most is not None and limit > self.most:
            raise Permanent(REFUSED, "limit")
        return self.shown(every)[skip : skip + min(limit, self.cut or limit)]


def crowd(kit: Kit, uplynk: Uplynk, count: int, *, due: int | None = None) -> list[Export]:
    """Return so many exports with a job each, the oldest first.

    The last `due` of them have been due for as long as one waits for others.
    """
    now, later = kit.now(), kit.now() + timedelta(minutes=3)
    exports = []
    for number in range(count):
        job = uplynk.create_export(asset := an_asset(), aaclc=False)
        is_due = due is None or number >= count - due
        exports.append(
            build_export(
                state=State.EXPORTING,
                asset=asset,
                job_id=job.id,
                job_state=job.word,
                job_created_at=now - AGE + number * APART,
                begun_at=now - AGE,
                created_at=now - AGE + number * APART,
                due_at=now - kit.settings.company if is_due else later,
            )
        )
    with kit.sessions.begin() as session:
        session.execute(insert(Export), [row_of(export) for export in exports])
    for export in exports:
        make_transient_to_detached(export)
    return exports


def fall_due(kit: Kit, exports: Iterable[Export]) -> None:
    """Have these due for as long as one waits for others."""
    ids = [export.id for export in exports]
    with kit.sessions.begin() as session:
        due_at = kit.now() - kit.settings.company
        session.execute(update(Export).where(Export.id.in_(ids)).values(due_at=due_at))


def with_pages(kit: Kit, size: int) -> Kit:
    """Return a kit that reads pages of so many jobs, as often as it likes."""
    return replace(
        kit,
        page_size=PageSize(size, now=kit.now),
        allowance=Allowance(1000, kit.settings.uplynk_user_id),
    )


def every(kit: Kit) -> Sequence[Export]:
    with kit.sessions.begin() as session:
        return session.scalars(select(Export).order_by(Export.created_at)).all()


def on_record(kit: Kit) -> Survey:
    with kit.sessions.begin() as session:
        return session.get_one(Survey, ACCOUNT)


def polled(kit: Kit, clock: Clock, *, messages: int = 50) -> list[Report]:
    """Poll as often as the reports ask for it, at once or in a moment."""
    reports = []
    for _ in range(messages):
        reports.append(poll(kit))
        [at] = [wake.at for wake in reports[-1].wakes if wake.step is Step.POLL]
        if at is not None and at > clock() + kit.settings.poll_min:
            return reports
        clock.time = max(at or clock(), clock())
    pytest.fail(f"after {messages} messages there is still something to do")
