"""Strategy: how a worker takes the messages of our tasks, and what is told of them."""

import logging
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.worker.request import Request
from celery.worker.strategy import default as default_strategy

from worker import logs, shown

# What a message holds: positional and keyword arguments, and what to do afterwards.
_PARTS = (list | tuple, dict, dict | None)

_log = logs.get_logger(__name__)


def careful(task: Any, app: Celery, consumer: Any, **options: Any) -> Callable[..., None]:  # noqa: ANN401  (Celery's)
    """Return Celery's way of taking a task's messages, for those that are calls of it.

    What Flower and the log tell of their arguments is not up to who sent them.
    Celery takes any JSON for one: a body such as `null` ends the worker, and then the next one that
    is given it.
    """
    take = default_strategy(task, app, consumer, **options)

    def handle(message: Any, body: Any, ack: Any, reject: Any, *more: Any, **rest: Any) -> None:  # noqa: ANN401  (same)
        if _is_call(message.payload):
            arguments, named = _arguments(message.payload)
            told = {"argsrepr": shown.positional(arguments), "kwargsrepr": shown.named(named)}
            message.headers = {**(message.headers or {}), **told}
            take(message, body, ack, reject, *more, **rest)
        else:
            _log.error("message thrown away: no call", task=task.name)
            reject(logging.getLogger(__name__), consumer.connection_errors, False)  # noqa: FBT003  (not put back)

    return handle


def _is_call(payload: object) -> bool:
    """Return whether the payload is one of Celery's message protocol 2, or 1."""
    if isinstance(payload, list) and len(payload) == len(_PARTS):
        return all(isinstance(*pair) for pair in zip(payload, _PARTS, strict=True))
    if not isinstance(payload, dict):
        return False
    arguments, named = payload.get("args"), payload.get("kwargs")
    return {"id", "task"} <= payload.keys() and (type(arguments), type(named)) == (list, dict)


def _arguments(payload: Any) -> tuple[Any, Any]:  # noqa: ANN401  (that of a call)
    if isinstance(payload, list):
        return payload[0], payload[1]
    return payload["args"], payload["kwargs"]


class Told(Request):
    """A message in a worker's hands, of which `inspect` tells no more than Flower's events do."""

    def info(self, safe: bool = False) -> Any:  # noqa: ANN401, FBT002  (Celery's)
        """Return what it is."""
        del safe
        return super().info(safe=True)
