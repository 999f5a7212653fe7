"""Consumer: what happens where a worker's connection to the broker begins and ends."""

from functools import partial
from typing import Any

from celery import bootsteps

# How often Flower is told what has happened.
REPORT_SECONDS = 1.0


class Census(bootsteps.StartStopStep):
    """Has the pool replace children that died, each time the worker connects to the broker.

    Celery 5.7 registers all children with its event loop then, and ends the worker over one that
    died shortly before the broker went away: it has forgotten that one's descriptor, and not yet
    the child.
    """

    requires = ("celery.worker.consumer:Connection",)

    def start(self, consumer: Any) -> None:  # noqa: ANN401  (Celery's)
        """Count the children."""
        consumer.pool.maintain_pool()


class Reporter(bootsteps.StartStopStep):
    """Has the events of tasks go out together, once a second.

    Celery sends them at each turn of its event loop, which for short steps is a message each.
    """

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, consumer: Any, **options: Any) -> None:  # noqa: ANN401  (Celery's)
        super().__init__(consumer, **options)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:  # noqa: ANN401  (Celery's)
        """Begin to send them."""
        events = consumer.event_dispatcher
        events.on_send_buffered = None
        self._timer = consumer.timer.call_repeatedly(REPORT_SECONDS, events.flush)

    def stop(self, consumer: Any) -> None:  # noqa: ANN401  (Celery's)
        """Send what waits, and what comes yet at once: nobody counts the seconds any more.

        Where the broker is away, Celery keeps it for when that is back.
        """
        if self._timer is not None:
            self._timer.cancel()
        if events := consumer.event_dispatcher:
            events.on_send_buffered = partial(self._tell_last, events)
            events.on_send_buffered()

    @staticmethod
    def _tell_last(events: Any) -> None:  # noqa: ANN401  (Celery's)
        # not what could not be sent before, which would be tried one by one
        events.flush(errors=False)
        events.send("worker-offline")  # again: who hears of a task takes its worker for alive
