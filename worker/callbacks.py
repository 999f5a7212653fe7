"""Callbacks: the Celery task that a CMS named is sent to it, as any of its own would be."""

from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from worker.errors import Undelivered


def caller(broker_url: str) -> Callable[[str, str, Mapping[str, Any]], None]:
    """Return what sends a task by its name to a queue, with the event as its only argument.

    It raises Undelivered: of the receiver where the broker at `broker_url` is away, and of this
    event alone where the broker does not take it, as a queue of other arguments say.
    """
    app = Celery("uplynk-export-callbacks", set_as_current=False)
    # by these names, since CELERY_BROKER_URL in the environment beats every other
    app.conf.update(
        broker_read_url=broker_url,
        broker_write_url=broker_url,
        task_serializer="json",
        task_publish_retry=False,
        broker_transport_options={
            "max_retries": 0,
            "socket_connect_timeout": 5,
            "socket_timeout": 10,
            "confirm_publish": True,  # RabbitMQ has it, or it counts as not sent
        },
    )

    def call(task: str, queue: str, event: Mapping[str, Any]) -> None:
        try:
            app.send_task(
                task,
                task_id=event["id"],  # twice the same event is twice the same task
                queue=queue,
                kwargs={"event": event},
                argsrepr="()",
                kwargsrepr=f"{{'event': <{event['type']} of {event['data']['request_id']}>}}",
                ignore_result=True,
            )
        except _refusals(app) as error:
            raise Undelivered(f"the broker does not take it ({error!r:.200})") from None
        except _outages(app) as error:
            kind = type(error).__name__
            raise Undelivered(
                f"the broker can't be reached ({kind})", is_of_receiver=True
            ) from None

    return call


def _refusals(app: Celery) -> tuple[type[BaseException], ...]:
    transport = app.connection_for_write().transport
    # Redis' transport has one list for both: what it counts among the others is an outage
    return tuple(set(transport.channel_errors) - set(transport.connection_errors))


def _outages(app: Celery) -> tuple[type[BaseException], ...]:
    return (OperationalError, *app.connection_for_write().transport.connection_errors)
