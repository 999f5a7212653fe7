"""Celery's policy, read back from the application as the workers have it."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.signals import before_task_publish

from tests.scraping import scraped
from worker.celery import (
    DOWNLOADS,
    EXPORTS,
    STALE_SECONDS,
    WAKE_UPS,
    WAKES,
    Rouser,
    Teller,
    make_app,
    wake,
)
from worker.consumer import Census, Reporter
from worker.errors import InvalidRequest, Permanent, SettingsError, Transient
from worker.settings import Settings
from worker.steps import Step
from worker.strategy import Told, careful

ACCOUNT = {"UPLYNK_USER_ID": "e" * 32, "UPLYNK_API_KEY": "emulator-key"}


def test_only_json_goes_in_and_out(app: Celery) -> None:
    assert app.conf.accept_content == ["json"]
    assert (app.conf.task_serializer, app.conf.result_serializer) == ("json", "json")


def test_wake_ups_are_acknowledged_when_they_begin_and_wishes_when_they_are_kept(
    app: Celery,
) -> None:
    assert app.conf.task_acks_late is False
    assert app.conf.task_reject_on_worker_lost is False
    late = {step for step in Step if app.tasks[str(step)].acks_late}
    assert late == {Step.CREATE, Step.CANCEL, Step.RETRY}, "those that are more than wake-ups"
    assert all(app.tasks[str(step)].reject_on_worker_lost for step in late)
    assert app.conf.broker_transport_options["visibility_timeout"] == 30


def test_our_keys_are_kept_apart_from_a_cmss(app: Celery) -> None:
    options = app.conf.broker_transport_options
    keys = ("unacked_key", "unacked_index_key", "unacked_mutex_key", "bell_key", "unreadable_key")
    for key in keys:
        assert options[key] == f"uplynk-export.{key.removesuffix('_key')}"


def test_a_worker_takes_no_message_that_it_cannot_begin(app: Celery) -> None:
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.worker_disable_prefetch is True


def test_the_tasks_are_the_steps(app: Celery) -> None:
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert ours == {str(step) for step in Step}


@pytest.mark.parametrize("step", list(Step))
def test_a_task_for_which_no_queue_is_named_goes_to_its_own(app: Celery, step: Step) -> None:
    queue = app.amqp.router.route({}, str(step))["queue"]
    assert queue.name == (DOWNLOADS if step is Step.DOWNLOAD else EXPORTS)


WOKEN = set(Step) - {Step.CREATE, Step.CANCEL, Step.STATUS}
LASTING = {Step.DOWNLOAD: DOWNLOADS, Step.RETRY: EXPORTS}


def test_what_a_cms_sends_is_no_mere_wake_up_which_traces_leave_out() -> None:
    assert {str(step) for step in WOKEN - {Step.RETRY}} == WAKE_UPS


@pytest.mark.parametrize("sweep_seconds", [5.0, 2 * STALE_SECONDS])
@pytest.mark.parametrize("step", sorted(WOKEN))
def test_wake_ups_stand_behind_nothing_that_a_cms_sends_and_go_stale(
    settings: Settings, step: Step, sweep_seconds: float
) -> None:
    app = make_app(settings.model_copy(update={"sweep_seconds": sweep_seconds}))
    sent, now = list[tuple[str, str | None]](), datetime.now(UTC)

    def note(routing_key: str, headers: dict[str, Any], **_: object) -> None:
        sent.append((routing_key, headers["expires"]))

    before_task_publish.connect(note)
    try:
        with suppress(Transient):  # nobody is there to take it
            wake(app, step)
    finally:
        before_task_publish.disconnect(note)
    [(queue, expires)] = sent
    assert queue == LASTING.get(step, WAKES)
    lasts = None if expires is None else (datetime.fromisoformat(expires) - now).total_seconds()
    if step in LASTING:
        assert lasts is None
    else:
        assert lasts is not None
        least = sweep_seconds if step is Step.SWEEP else max(STALE_SECONDS, sweep_seconds)
        assert least <= lasts < least + 60


def test_the_queues_are_bound_as_celery_binds_one_that_a_cms_just_names(app: Celery) -> None:
    plain = Celery(set_as_current=False)
    for ours in app.conf.task_queues:
        theirs = plain.amqp.router.route({"queue": ours.name}, "any.task")["queue"]
        assert ours.routing_key == theirs.routing_key == ours.name
        assert ours.exchange.type == theirs.exchange.type == "direct"


def test_no_result_is_kept_but_flower_hears_of_everything(app: Celery) -> None:
    assert app.conf.task_ignore_result is True
    assert app.conf.worker_send_task_events is True
    assert app.conf.task_send_sent_event is True


def test_a_wake_up_that_cannot_be_sent_holds_nobody_up(app: Celery) -> None:
    assert app.conf.task_publish_retry is False
    options = app.conf.broker_transport_options
    assert options["max_retries"] == 0
    assert options["socket_connect_timeout"] <= 5
    assert options["socket_timeout"] <= 30


def test_a_worker_waits_for_its_broker_for_ever(app: Celery) -> None:
    assert app.conf.broker_connection_retry_on_startup is True
    assert app.conf.broker_connection_max_retries is None


def test_what_is_expected_is_said_without_a_traceback(app: Celery) -> None:
    for step in Step:
        assert set(app.tasks[str(step)].throws) == {InvalidRequest, Transient, Permanent}


def test_what_is_told_of_a_message_is_not_up_to_who_sent_it(app: Celery) -> None:
    for step in Step:
        task = app.tasks[str(step)]
        for named, meant in ((task.Strategy, careful), (task.Request, Told)):
            assert named == f"{meant.__module__}:{meant.__name__}"


def test_each_worker_has_a_timer_of_its_own(app: Celery) -> None:
    assert Rouser in app.steps["worker"]


def test_children_that_died_are_replaced_before_the_pool_is_registered_again(app: Celery) -> None:
    assert Census in app.steps["consumer"]
    counted = []
    consumer = SimpleNamespace(pool=SimpleNamespace(maintain_pool=lambda: counted.append(1)))
    Census(consumer).start(consumer)
    assert counted == [1]


class Timer:
    """Keeps what is to be done again and again, until it is called."""

    def __init__(self) -> None:
        self.again: Callable[[], None] | None = None

    def call_repeatedly(self, _seconds: float, again: Callable[[], None]) -> SimpleNamespace:
        self.again = again
        return SimpleNamespace(cancel=lambda: None)


def a_worker(app: Celery, port: int | None) -> Any:
    conf = SimpleNamespace(metrics_at=("127.0.0.1", port))
    return SimpleNamespace(app=SimpleNamespace(conf=conf, amqp=app.amqp), timer=Timer())


def test_a_worker_tells_nothing_unless_it_is_told_where(app: Celery) -> None:
    assert Teller in app.steps["worker"]
    assert app.conf.metrics_at == ("127.0.0.1", None)
    worker = a_worker(app, None)
    teller = Teller(worker)
    teller.start(worker)
    assert worker.timer.again is None
    teller.stop(worker)


def test_a_port_that_is_anothers_holds_no_worker_up_and_is_tried_again(app: Celery) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        worker = a_worker(app, port)
        teller = Teller(worker)
        teller.start(worker)
        assert worker.timer.again is not None
        worker.timer.again()
    worker.timer.again()
    worker.timer.again()  # it is told already
    told = scraped(f"http://127.0.0.1:{port}/metrics")
    teller.stop(worker)
    assert told.value("worker_serves", queue=DOWNLOADS) == 1
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_events_go_out_together(app: Celery) -> None:
    assert Reporter in app.steps["consumer"]
    timers, flushed = list[tuple[float, Callable[[], None]]](), list[int]()
    events = SimpleNamespace(on_send_buffered=print, flush=lambda: flushed.append(1))
    timer = SimpleNamespace(call_repeatedly=lambda every, act: timers.append((every, act)))
    Reporter(None).start(SimpleNamespace(event_dispatcher=events, timer=timer))
    assert events.on_send_buffered is None
    [(every, act)] = timers
    act()
    assert flushed
    assert every <= 1, "Flower shows what happens as it does"


class Heartless:
    """Calls nobody: a timer whose time never comes."""

    def call_repeatedly(self, _seconds: float, _act: Callable[[], None]) -> SimpleNamespace:
        return SimpleNamespace(cancel=lambda: None)


def test_a_worker_that_stops_tells_what_it_has_not_told_yet() -> None:
    app, seen = Celery(broker="memory://", set_as_current=False), list[str]()
    state = app.events.State()

    def hear(event: dict[str, Any]) -> None:
        state.event(event)
        seen.append(event["type"])

    with app.connection_for_write() as ours, app.connection_for_read() as theirs:
        listener = app.events.Receiver(theirs, {"*": hear})
        events = app.events.Dispatcher(ours, buffer_group=["task"])
        consumer = SimpleNamespace(event_dispatcher=events, timer=Heartless())
        reporter = Reporter(consumer)
        with listener.consumer_context(wakeup=False) as (connection, *_):
            reporter.start(consumer)
            events.send("task-started", uuid="1")
            reporter.stop(consumer)
            events.send("task-succeeded", uuid="1")  # of a step that left off in time
            while len(seen) < 4:
                connection.drain_events(timeout=5)
    assert seen == ["task-started", "worker-offline", "task-succeeded", "worker-offline"]
    assert not any(worker.alive for worker in state.workers.values())


def test_what_a_worker_could_not_tell_is_kept_for_when_the_broker_is_back() -> None:
    app, seen = Celery(broker="memory://", set_as_current=False), list[str]()
    away = Celery(broker="redis://127.0.0.1:1/0", set_as_current=False)
    away.conf.broker_transport_options = {"max_retries": 0}
    with app.connection_for_read() as theirs, away.connection_for_write() as gone:
        before = away.events.Dispatcher(gone, buffer_group=["task"])
        consumer = SimpleNamespace(event_dispatcher=before, timer=Heartless())
        reporter = Reporter(consumer)
        reporter.start(consumer)
        before.send("task-started", uuid="1")
        reporter.stop(consumer)
        listener = app.events.Receiver(theirs, {"*": lambda event: seen.append(event["type"])})
        with (
            listener.consumer_context(wakeup=False) as (connection, *_),
            app.connection_for_write() as back,
        ):
            events = app.events.Dispatcher(back, buffer_group=["task"])
            events.extend_buffer(before)  # as Celery does once it is connected again
            events.flush()
            while len(seen) < 2:
                connection.drain_events(timeout=5)
    assert seen == ["task-started", "worker-offline"]


SET_UP = """
import sys
from celery.signals import celeryd_after_setup
from types import SimpleNamespace
from worker.tasks import app
for queues in (["exports"], ["downloads"], ["exports", "downloads"]):
    app.amqp.queues.select(queues)
    celeryd_after_setup.send("worker", instance=SimpleNamespace(app=app))
    print(*app.amqp.queues.consume_from, "av" in sys.modules)
"""


def test_a_worker_serves_what_it_is_told_and_loads_ffmpeg_before_the_fork_if_it_needs_it() -> None:
    said = subprocess.run(
        [sys.executable, "-c", SET_UP],
        env={**os.environ, "CELERY_BROKER_URL": "redis://127.0.0.1:1/0", **ACCOUNT},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert said.stdout.splitlines() == [
        f"{EXPORTS} {WAKES} False",
        f"{DOWNLOADS} True",
        f"{EXPORTS} {DOWNLOADS} {WAKES} True",
    ]


def test_no_beat_is_needed(app: Celery) -> None:
    assert not app.conf.beat_schedule


def test_the_setting_beats_the_variable_that_celery_reads_by_itself(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "embedded")
    app = make_app(settings)
    assert app.conf.broker_read_url == app.conf.broker_write_url == settings.celery_broker_url


def test_other_brokers_than_redis_have_no_prefetch_to_switch_off(settings: Settings) -> None:
    rabbit = settings.model_copy(update={"celery_broker_url": "amqp://localhost//"})
    assert make_app(rabbit).conf.worker_disable_prefetch is False


def test_without_a_broker_the_message_says_what_to_do(
    settings: Settings, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="Start `uplynk-export worker`"):
        make_app(settings.model_copy(update={"celery_broker_url": "embedded"}))
