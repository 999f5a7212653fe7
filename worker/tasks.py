"""The tasks: each takes one step with this process's kit, and sends what the step wants woken."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from celery import Task
from celery.exceptions import Reject, Retry
from celery.signals import worker_process_shutdown, worker_shutdown
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from models import outbox
from worker import steps
from worker.callbacks import caller
from worker.celery import (
    DOWNLOADS,
    alarm,
    app,
    asking,
    broker_errors,
    cleaning,
    polling,
    settings,
    slots,
    stopping,
    submitting,
    tally,
    telling,
    wake,
)
from worker.clock import local
from worker.errors import ExportError, InvalidRequest, Permanent, Transient
from worker.logs import get_logger
from worker.outfit import outfit
from worker.steps import Kit, Report, Step, Wake, ledger
from worker.steps.ledger import Failure
from worker.steps.wish import Again, Question, Withdrawal, read_as

# More downloads than this need not wait in the broker: SQL knows the others, and their order.
MOST_WAITING = 8

MOST_SHOWN = 200

# A step that finds no place for it is woken again after this.
A_MOMENT = timedelta(seconds=1)

# How long a worker holds a request that it can't set down before it puts the message back.
PUT_BACK_SECONDS = 1.0

# How long a process that ends waits for what it has under way to be given back.
LEAVE_SECONDS = 2.0

_log = get_logger(__name__)


@lru_cache(maxsize=1)
def _kit_of(_pid: int) -> Kit:
    broker_url = app.conf.broker_write_url
    return outfit(
        settings,
        broker_url=broker_url,
        call=caller(settings.callback_broker_url or broker_url),
        stopping=stopping.is_set,
        tally=tally,
    )


def kit() -> Kit:
    """Return the kit of this process; a forked child makes its own."""
    return _kit_of(os.getpid())


class ExportTask(Task):
    """What all tasks have in common: the step's wake-ups are sent, and its facts returned.

    A step that came to nothing raises why, after all else: an operator is not told that it went
    well, though the failure is on record.
    """

    abstract = True
    Strategy = "worker.strategy:careful"
    Request = "worker.strategy:Told"
    throws = (InvalidRequest, Transient, Permanent)  # said in one line, without a traceback

    def __call__(self, *args: Any, **kwargs: Any) -> Mapping[str, object]:  # noqa: ANN401  (Celery's)
        """Take the step; what it wants woken is sent after all is committed."""
        try:
            with ledger.counted() as counts:
                report: Report = super().__call__(*args, **kwargs)
        except (DBAPIError, NoConnectionFree) as error:
            # the first line only: PostgreSQL's details would show the row
            said, *_ = f"{getattr(error, 'orig', None) or error}".strip().splitlines() or [""]
            trouble = Transient("database_unavailable", said)
            _log.warning("database unavailable", message=trouble.message)
            raise trouble from None
        except InvalidRequest as error:
            _log.warning("message refused", message=str(error))
            tell_news()
            raise
        wakes = list(dict.fromkeys(report.wakes))
        for each in wakes:
            if each.export_id is None:
                send(each)
        send_downloads([each.export_id for each in wakes if each.export_id is not None])
        tell_news()
        if counts.foremost is not None and len(counts.failures) >= report.took:
            raise _came_to_nothing(counts.foremost)
        return {**report.facts, **counts.facts()}


def _came_to_nothing(failure: Failure) -> ExportError:
    """Return a failure as an operator is to read it."""
    code, message = failure.error.code, failure.error.message
    if failure.again_at is None:
        return Permanent(code, message)
    seconds = max((failure.again_at - kit().now()).total_seconds(), 0)
    return Transient(code, f"{message}; again in {seconds:.0f} s")


class TriedAgain(Retry):
    """Celery's retry, whose event tells what went wrong and nothing of itself."""

    def __repr__(self) -> str:
        return repr(self.exc)


class StepTask(ExportTask):
    """A wake-up: what a step could not do now is done later, by another message.

    So a failure that is not the export's end is told as a retry (with no message of Celery's).
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Mapping[str, object]:  # noqa: ANN401  (Celery's)
        """Take the step."""
        try:
            return super().__call__(*args, **kwargs)
        except Transient as trouble:
            raise TriedAgain(str(trouble), trouble) from None


def tell_news() -> None:
    """Have what this thread wrote into the outbox delivered."""
    if outbox.has_news(kit().sessions):
        send(Wake(Step.NOTIFY))


def send(wanted: Wake) -> None:
    """Send the wake-up now, or set this worker's alarm for it."""
    delay = wanted.at - kit().now() if wanted.at is not None else timedelta()
    if delay > timedelta():
        alarm.set(wanted.step, local() + delay)  # the timer goes by this machine's clock
    else:
        # nobody looks at the alarm of a worker that stops
        is_alone = wanted.goes_on or bool(wanted.arguments) or stopping.is_set()
        if is_alone or alarm.is_now(wanted.step, local()):
            wake(app, wanted.step, **dict(wanted.arguments))


def send_downloads(export_ids: Sequence[UUID]) -> None:
    """Send the wake-ups of downloads, as far as there are not many that wait."""
    if export_ids:
        for export_id in export_ids[: max(MOST_WAITING - waiting(DOWNLOADS), 0)]:
            wake(app, Step.DOWNLOAD, export_id=str(export_id))


def waiting(queue: str) -> int:
    """Return how many messages wait in `queue`; 0 where the broker can't be asked."""
    try:
        with app.connection_or_acquire() as connection:
            declared = app.amqp.queues[queue].bind(connection.default_channel).queue_declare()
    except broker_errors(app):
        return 0
    return int(declared.message_count)


class RecordTask(ExportTask):
    """A message that is more than a wake-up: until it is in SQL, nothing else knows of it.

    So it is acknowledged when that is committed, and goes back to its queue while the database is
    away. It is in a worker's hands for milliseconds otherwise.
    """

    abstract = True
    acks_late = True
    reject_on_worker_lost = True

    def __call__(self, *args: Any, **kwargs: Any) -> Mapping[str, object]:  # noqa: ANN401  (Celery's)
        """Set down what was asked for, or put the message back."""
        try:
            return super().__call__(*args, **kwargs)
        except InvalidRequest:
            raise
        except Exception as error:  # noqa: BLE001  (the one place for it that style asks for)
            # whatever it is: acknowledged now, the request would be lost
            if not isinstance(error, Transient):
                _log.exception("message not recorded")
            elif error.code != "database_unavailable":  # which is said already
                _log.warning("message put back", code=error.code, message=error.message)
            time.sleep(PUT_BACK_SECONDS)  # the queue goes round no faster while nothing can be done
            raise Reject(str(error), requeue=True) from None


@app.task(name=str(Step.CREATE), base=RecordTask, bind=True)
def create(self: Task, *args: Any, **kwargs: Any) -> Report:  # noqa: ANN401  (whatever was sent)
    """Set down a CMS's request; the keyword arguments are those of `worker.steps.wish.Wish`."""
    return steps.create(kit(), self.request.id, kwargs, args)


@app.task(name=str(Step.CANCEL), base=RecordTask)
def cancel(*args: Any, **kwargs: Any) -> Report:  # noqa: ANN401  (whatever was sent)
    """Withdraw a request; the keyword arguments are those of `worker.steps.wish.Withdrawal`."""
    wanted = read_as(Withdrawal, str(Step.CANCEL), kwargs, args)
    return steps.cancel(kit().sessions, wanted.request_id, now=kit().now())


@app.task(name=str(Step.RETRY), base=RecordTask, bind=True)
def retry(self: Task, *args: Any, **kwargs: Any) -> Report:  # noqa: ANN401  (whatever was sent)
    """Take up again what failed; the keyword arguments are those of `worker.steps.wish.Again`."""
    wanted = read_as(Again, str(Step.RETRY), kwargs, args)
    sessions, now, by = kit().sessions, kit().now(), self.request.id
    if wanted.code is not None:
        return steps.retry_failed(sessions, wanted.code, now=now, before=wanted.before, by=by)
    return steps.retry(sessions, str(wanted.request_id), now=now, by=by)


# of its answer Flower is told the beginning: how it stands, and none of the CMS's metadata
@app.task(
    name=str(Step.STATUS), base=ExportTask, ignore_result=False, resultrepr_maxsize=MOST_SHOWN
)
def status(*args: Any, **kwargs: Any) -> Report:  # noqa: ANN401  (whatever was sent)
    """Answer how a request stands, where there is a result backend to put that; see `Question`."""
    wanted = read_as(Question, str(Step.STATUS), kwargs, args)
    return steps.status(kit().sessions, wanted.request_id)


@app.task(name=str(Step.SUBMIT), base=StepTask)
def submit() -> Report:
    """Ask Uplynk for what is due, as far as there is room; in half of the pool at the most."""
    with submitting.one() as free:
        return steps.submit(kit()) if free else _again(Step.SUBMIT)


@app.task(name=str(Step.POLL), base=StepTask)
def poll() -> Report:
    """Look at the jobs that are due for a look; in half of the pool at the most."""
    with polling.one() as free:
        return steps.poll(kit()) if free else _again(Step.POLL)


def _again(step: Step) -> Report:
    """Return what is told of a step that found no place: who is at it may have seen all it will."""
    return Report({"state": "done already"}, (Wake(step, at=kit().now() + A_MOMENT),))


@app.task(name=str(Step.DOWNLOAD), base=StepTask)
def download(export_id: str) -> Report:
    """Bring files into storage, the most urgent first."""
    wanted = UUID(export_id)
    with slots.one() as free:
        if not free:  # the sweep will ask again
            return Report({"export_id": export_id, "state": "no slot is free"})
        return steps.downloads(kit(), wanted)


@app.task(name=str(Step.CAPTIONS), base=StepTask)
def captions() -> Report:
    """Ask again for captions that could not be told; in one place of the pool at the most."""
    with asking.one() as free:
        return steps.captions(kit()) if free else Report({"state": "asked for already"})


@app.task(name=str(Step.NOTIFY), base=StepTask)
def notify() -> Report:
    """Tell the CMS what has become of its requests; in one place of the pool at the most."""
    with telling.one() as free:
        return steps.notify(kit()) if free else Report({"state": "told already"})


@worker_process_shutdown.connect
@worker_shutdown.connect
def _give_back(**_: object) -> None:
    """Give back what this process has under way to CMSs, as it is about to end."""
    if _kit_of.cache_info().currsize:
        kit().courier.leave(kit().webhooks.cut, seconds=LEAVE_SECONDS)


@app.task(name=str(Step.CLEAN), base=StepTask)
def clean() -> Report:
    """Delete what has served and what is old; in one place of the pool at the most."""
    with cleaning.one() as free:
        return steps.clean(kit()) if free else Report({"state": "cleaned already"})


@app.task(name=str(Step.SWEEP), base=StepTask)
def sweep() -> Report:
    """Wake whatever is overdue."""
    return steps.sweep(kit())
