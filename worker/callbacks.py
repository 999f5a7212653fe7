"""Callbacks: the Celery task that a CMS named is sent to it, as any of its own would be."""

from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery

from worker.errors import Undelivered


def caller(
    broker_url: str, errors: Callable[[Celery], tuple[type[BaseException], ...]]
) -> Callable[[str, str, Mapping[str, Any]], None]:
    """Return what sends a task by its name to a queue, with the event as its only argument.

    Args:
        broker_url: where the CMS's workers take their tasks from.
        errors: gives what may be raised where the broker is away.
    """
    app = Celery("uplynk-export-callbacks", set_as_current=False)
    # by these names, since CELERY_BROKER_URL in the environment beats every other
    app.conf.update(
        broker_read_url=broker_url,
        broker_write_url=broker_url,
        task_serializer="json",
        task_publish_retry=False,
        broker_transport_options={
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
        except errors(app) as error:
            raise Undelivered(f"the broker can't be reached ({type(error).__name__})") from None

    return call
