"""The tasks: each takes one step with this process's kit, and sends what the step wants woken."""

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from celery import Task
from kombu.exceptions import OperationalError
from sqlalchemy.exc import DBAPIError

from worker import steps
from worker.celery import DOWNLOADS, alarm, app, settings, slots, wake
from worker.errors import InvalidRequest, Transient
from worker.outfit import now, outfit
from worker.steps import Kit, Report, Step, Wake

# More downloads than this need not wait in the broker: SQL knows the others, and their order.
MOST_WAITING = 8


@lru_cache(maxsize=1)
def _kit_of(_pid: int) -> Kit:
    return outfit(settings)


def kit() -> Kit:
    """Return the kit of this process; a forked child makes its own."""
    return _kit_of(os.getpid())


class ExportTask(Task):
    """What all tasks have in common: the step's wake-ups are sent, and its facts returned."""

    abstract = True
    throws = (InvalidRequest, Transient)  # said in one line, without a traceback

    def __call__(self, *args: Any, **kwargs: Any) -> Mapping[str, object]:  # noqa: ANN401  (Celery's)
        """Take the step; what it wants woken is sent after all is committed."""
        try:
            report: Report = super().__call__(*args, **kwargs)
        except DBAPIError as error:
            raise Transient("database_unavailable", str(error.orig).strip()) from None
        for each in dict.fromkeys(report.wakes):
            send(each)
        return report.facts


def send(wanted: Wake) -> None:
    """Send the wake-up now, or set this worker's alarm for it."""
    if wanted.at is not None and wanted.at > now():
        alarm.set(wanted.step, wanted.at)
    elif wanted.export_id is None:
        wake(app, wanted.step)
    elif waiting(DOWNLOADS) < MOST_WAITING:
        wake(app, wanted.step, export_id=str(wanted.export_id))


def waiting(queue: str) -> int:
    """Return how many messages wait in `queue`; 0 where the broker can't be asked."""
    try:
        with app.connection_or_acquire() as connection:
            declared = app.amqp.queues[queue].bind(connection.default_channel).queue_declare()
    except OperationalError:
        return 0
    return int(declared.message_count)


@app.task(name=str(Step.CREATE), base=ExportTask, bind=True)
def create(self: Task, *args: Any, **kwargs: Any) -> Report:  # noqa: ANN401  (whatever was sent)
    """Set down a CMS's request; the keyword arguments are those of `worker.steps.create.Wish`."""
    return steps.create(kit(), self.request.id, kwargs, args)


@app.task(name=str(Step.SUBMIT), base=ExportTask)
def submit() -> Report:
    """Ask Uplynk for the exports that are due, as far as the window has room."""
    return steps.submit(kit())


@app.task(name=str(Step.POLL), base=ExportTask)
def poll() -> Report:
    """Look at the jobs that are due for a look."""
    return steps.poll(kit())


@app.task(name=str(Step.DOWNLOAD), base=ExportTask)
def download(export_id: str) -> Report:
    """Bring the file of an export into storage."""
    with slots.one() as free:
        if not free:  # the sweep will ask again
            return Report({"export_id": export_id, "state": "no slot is free"})
        return steps.download(kit(), UUID(export_id))


@app.task(name=str(Step.SWEEP), base=ExportTask)
def sweep() -> Report:
    """Wake whatever is overdue."""
    return steps.sweep(kit())
