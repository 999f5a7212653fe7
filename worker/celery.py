"""The Celery application: broker, queues, routes, and the timer of each worker.

All of Celery's policy stands here, in `consumer` and in `strategy`, and
`tests/unit/test_celery_policy.py` reads it back.
"""

import gc
import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Any

import click
from billiard.process import active_children
from celery import Celery, bootsteps
from celery.signals import (
    celeryd_after_setup,
    celeryd_init,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
    worker_shutdown,
    worker_shutting_down,
)
from celery.utils.log import mlevel
from click.core import ParameterSource
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError

from worker import logs, parent, rendezvous, tracing, transport
from worker.alarm import Alarm
from worker.consumer import Census, Reporter
from worker.errors import SettingsError, Transient
from worker.metrics.endpoint import Endpoint, serve
from worker.metrics.own import Own
from worker.settings import Settings, load
from worker.slots import Slots
from worker.steps import Step
from worker.stopping import Stopping, leave_off_at
from worker.tally import Tally

EXPORTS = "exports"  # what is sent from without; no short step waits for more than one answer
DOWNLOADS = "downloads"  # long ones
# What workers wake short steps by: behind the messages of a CMS that sends a hundred thousand no
# job would be looked at. Whoever serves EXPORTS serves it by itself, one of either in turns.
WAKES = "exports.wakes"

# The tasks that are woken, beside those that a CMS sends.
WAKE_UPS = frozenset(
    str(step) for step in Step if step not in {Step.CREATE, Step.CANCEL, Step.RETRY, Step.STATUS}
)

# A wake-up that nobody took for so long is dropped: each worker that serves EXPORTS has sent sweeps
# since. So those of a night without one don't stand before what the first to start wants to know.
# Machines whose clocks are minutes apart still take each other's.
STALE_SECONDS = 600.0

# How often a worker's timer looks whether a step's time has come.
TICK_SECONDS = 0.2
# How often it is tried to serve metrics at a port that another still has.
METRICS_AGAIN_SECONDS = 5.0

_log = logs.get_logger(__name__)


def make_app(settings: Settings) -> Celery:
    """Return the application for these settings.

    Raises:
        SettingsError: the embedded broker is meant, and none is running.
    """
    broker_url = rendezvous.broker_url(settings)
    transport.install()
    app = Celery("uplynk-export", include=["worker.tasks"], set_as_current=True)
    app.conf.update(
        # by these names, since Celery reads CELERY_BROKER_URL by itself, and knows no `embedded`
        broker_read_url=broker_url,
        broker_write_url=broker_url,
        # JSON only: a message can bring values, never code
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        # a step's result is in SQL; what a task returns is for Flower, which reads the events
        task_ignore_result=True,
        # but for `exports.status`, if there is a place for its answer
        result_backend=settings.celery_result_backend,
        task_queues=[_queue(EXPORTS), _queue(DOWNLOADS)],
        task_default_queue=EXPORTS,
        task_routes={str(Step.DOWNLOAD): {"queue": DOWNLOADS}},
        # The claim in SQL makes a step happen at least once. A late acknowledgement buys nothing,
        # but for the messages that only the broker knows of until they are done (see tasks.py).
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=broker_url.startswith("redis"),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            # by itself kombu tries for some seconds to connect, before it says that it can't
            "max_retries": 0,
            "socket_connect_timeout": 5,
            "socket_timeout": 30,
            "socket_keepalive": True,
            "health_check_interval": 25,
            # those alone are ever unacknowledged, and for moments: what a killed worker had in
            # its hands can be given out again soon
            "visibility_timeout": 30,
            # one set of keys serves a whole Redis database: under the common names we would give
            # out a CMS's own tasks again, if it is on the same broker
            "unacked_key": "uplynk-export.unacked",
            "unacked_index_key": "uplynk-export.unacked_index",
            "unacked_mutex_key": "uplynk-export.unacked_mutex",
            "unacked_restore_throttle": 1,
            "bell_key": "uplynk-export.bell",
            "unreadable_key": "uplynk-export.unreadable",
        },
        # a wake-up that can't be sent is dropped: the sweep sends it again
        task_publish_retry=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        timezone="UTC",
        sweep_seconds=settings.sweep_seconds,
        metrics_at=(settings.metrics_host, settings.metrics_port),
    )
    app.steps["worker"].add(Rouser)
    app.steps["worker"].add(Teller)
    app.steps["consumer"].add(Census)
    app.steps["consumer"].add(Reporter)
    return app


def _queue(name: str) -> Queue:
    # the binding that Celery makes by itself for a CMS that just names the queue
    return Queue(name, Exchange(name, type="direct"), routing_key=name)


class Rouser(bootsteps.StartStopStep):
    """Wakes steps by the worker's own timer: what the alarm says, and the sweep.

    Each worker that serves the short steps sends sweeps, from its start on; as long as one of them
    lives, nothing is overdue for long. A sweep that nobody takes in time expires.
    """

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **options: Any) -> None:  # noqa: ANN401  (Celery's)
        super().__init__(worker, **options)
        self._timers: list[Any] = []

    def start(self, worker: Any) -> None:  # noqa: ANN401  (Celery's)
        """Begin to wake steps."""
        for number in (signal.SIGTERM, signal.SIGQUIT):
            leave_off_at(number, lambda: stopping.begin(active_children))
        queues = worker.app.amqp.queues.consume_from
        places = worker.max_concurrency or worker.concurrency
        if EXPORTS in queues and DOWNLOADS in queues and places > 1:
            slots.limit(places - 1)
        outward.limit(places - 1 if places > 2 else places)  # noqa: PLR2004  (two: one each)
        for each in (submitting, polling):
            each.limit(max(places // 2, 1))
        self._timers = [worker.timer.call_repeatedly(TICK_SECONDS, self._ring, (worker.app,))]
        if EXPORTS in queues:
            every = worker.app.conf.sweep_seconds
            self._timers.append(worker.timer.call_repeatedly(every, self._sweep, (worker.app,)))
            alarm.set(Step.SWEEP, datetime.now(UTC))

    def stop(self, worker: Any) -> None:  # noqa: ANN401  (Celery's)
        """Wake nobody any more."""
        del worker
        for timer in self._timers:
            timer.cancel()

    def _ring(self, app: Celery) -> None:
        for step in alarm.due(datetime.now(UTC)):
            wake(app, step)

    def _sweep(self, app: Celery) -> None:
        wake(app, Step.SWEEP)


class Teller(bootsteps.StartStopStep):
    """Tells Prometheus what the worker's processes count, from a thread of the main process.

    That the port is another's keeps no worker from its work: it is tried again, and said once.
    """

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **options: Any) -> None:  # noqa: ANN401  (Celery's)
        super().__init__(worker, **options)
        self._endpoint: Endpoint | None = None
        self._timer: Any = None

    def start(self, worker: Any) -> None:  # noqa: ANN401  (Celery's)
        """Begin to tell, if that is wanted."""
        host, port = worker.app.conf.metrics_at
        if port is None:
            return
        own = Own(tally, settings, worker.app.amqp.queues.consume_from)
        try:
            self._endpoint = serve(own, host=host, port=port)
        except OSError as error:
            _log.warning("metrics not served", message=str(error))
            again = partial(self._serve, own, host, port)
            self._timer = worker.timer.call_repeatedly(METRICS_AGAIN_SECONDS, again)

    def stop(self, worker: Any) -> None:  # noqa: ANN401  (Celery's)
        """Tell nothing any more."""
        del worker
        if self._timer is not None:
            self._timer.cancel()
        if self._endpoint is not None:
            self._endpoint.close()

    def _serve(self, own: Own, host: str, port: int) -> None:
        with suppress(OSError):
            self._endpoint = self._endpoint or serve(own, host=host, port=port)


def wake(app: Celery, step: Step, **arguments: str) -> None:
    """Send the message that wakes `step`; where the broker is away, the sweep will do it later.

    Raises:
        Transient: the broker is away, and the sweep knows nothing of it: the message says more than
            which step it is.
    """
    options: dict[str, Any] = {}
    if str(step) in WAKE_UPS and step is not Step.DOWNLOAD:
        until_next_sweep = app.conf.sweep_seconds
        stale = until_next_sweep if step is Step.SWEEP else max(STALE_SECONDS, until_next_sweep)
        options = {"queue": WAKES, "expires": stale}
    try:
        with tracing.apart():
            app.send_task(str(step), kwargs=arguments, **options)
    except broker_errors(app):
        if step is Step.RETRY:
            raise Transient("broker_unavailable", "the rest of it can't be sent") from None
        _log.warning("wake-up not sent", message=str(step))


def broker_errors(app: Celery) -> tuple[type[BaseException], ...]:
    """Return what may be raised where the broker is away: kombu's own, and its transport's."""
    transport = app.connection_for_write().transport
    return (OperationalError, *transport.connection_errors, *transport.channel_errors)


def _settings() -> Settings:
    try:
        return load()
    except SettingsError as error:
        raise SystemExit(f"uplynk-export: {error}") from None


@celeryd_init.connect
def _begin(instance: Any, options: dict[str, Any], **_: object) -> None:  # noqa: ANN401  (Celery's)
    parent.end_with_parent()
    _set_up_logging(options.get("loglevel"))  # Celery does so after a good deal of its start
    logs.take_over()
    # the banner is for a person at a terminal
    instance.quiet = instance.quiet or not logs.is_console(settings.log_format)


@celeryd_after_setup.connect
def _serve_wakes(instance: Any, **_: object) -> None:  # noqa: ANN401  (Celery's worker)
    """Have the worker take the short steps' wake-ups if it takes what CMSs send."""
    queues = instance.app.amqp.queues
    if EXPORTS in queues.consume_from:
        queues.select_add(_queue(WAKES))


@celeryd_after_setup.connect
def _load(instance: Any, **_: object) -> None:  # noqa: ANN401  (Celery's worker)
    """Load what downloads need, where there are any, before the pool forks: children share it.

    What is there by then stays: Python's search for cycles need not go through it each time, nor
    write into pages that children share (Python's manual, `gc.freeze`).
    """
    if DOWNLOADS in instance.app.amqp.queues.consume_from:
        import_module("worker.transfer.verify")
    gc.freeze()
    if not instance.pool_cls.__module__.endswith("prefork"):  # whose children trace, each alone
        _trace()


@worker_process_init.connect
def _trace(**_: object) -> None:
    tracing.start(os.environ, api_url=f"{settings.uplynk_api_url}/api2/", dropped=WAKE_UPS)


@worker_process_shutdown.connect
@worker_shutdown.connect
def _end_traces(**_: object) -> None:
    tracing.stop()


@worker_shutting_down.connect
def _stop(**_: object) -> None:
    stopping.begin(active_children)


@setup_logging.connect
def _set_up_logging(
    loglevel: int | str | None = None, logfile: str | None = None, **_: object
) -> None:
    level = loglevel if loglevel is not None and _is_told("loglevel") else settings.log_level
    logs.configure(settings.log_format, level=mlevel(level), file=logfile)


def _is_told(option: str) -> bool:
    """Return whether Celery's command line was given this option: its default is none of ours."""
    context = click.get_current_context(silent=True)
    source = context.get_parameter_source(option) if context else None
    return source not in {None, ParameterSource.DEFAULT}


@task_prerun.connect
def _enter(task_id: str, task: Any, **_: object) -> None:  # noqa: ANN401  (Celery's task)
    logs.enter(task=task.name, task_id=task_id)


@task_postrun.connect
def _leave(**_: object) -> None:
    logs.leave()


settings = _settings()
alarm = Alarm()
slots = Slots()
asking = Slots(limit=1)
cleaning = Slots(limit=1)
telling = Slots(limit=1)
outward = Slots(limit=1)
polling = Slots(limit=1, within=outward)
submitting = Slots(limit=1, within=outward)
stopping = Stopping()
tally = Tally() if settings.metrics_port is None else Tally.shared()
try:
    app = make_app(settings)
except SettingsError as error:
    raise SystemExit(f"uplynk-export: {error}") from None
