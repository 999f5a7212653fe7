"""Sender: the CMS of a storm; it sends each wish by a message, and again until it is taken."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from threading import Event as Flag
from threading import Thread
from typing import Self

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from tests.chaos.wishes import Wish

AGAIN_SECONDS = 0.5
AWAY = (OperationalError, redis.RedisError, OSError)


@dataclass(slots=True)
class Sender:
    """Sends wishes at their times, from a thread of its own.

    Attributes:
        wishes: what is to be sent.
        broker_url: where to.
        webhook_url: where the CMS is told how each ended.
        accepted: when the broker accepted each message, by the request's id.
    """

    wishes: Sequence[Wish]
    broker_url: str
    webhook_url: str
    accepted: dict[str, list[datetime]] = field(default_factory=dict)
    _over: Flag = field(default_factory=Flag)
    _thread: Thread | None = None

    def __enter__(self) -> Self:
        self._thread = Thread(
            target=self._run, args=(time.monotonic(),), name="sender", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def finish(self, seconds: float) -> None:
        """Wait until everything was sent."""
        assert self._thread is not None
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the broker did not take all messages"

    def send(self, wishes: Sequence[Wish]) -> None:
        """Send these now."""
        with Celery(broker=self.broker_url, set_as_current=False) as app:
            for wish in wishes:
                self._send(app, wish)

    def _run(self, begin: float) -> None:
        times = [(wish.at, wish) for wish in self.wishes]
        times += [(wish.again_at, wish) for wish in self.wishes if wish.again_at is not None]
        with Celery(broker=self.broker_url, set_as_current=False) as app:
            for at, wish in sorted(times, key=itemgetter(0)):
                if self._over.wait(max(0.0, begin + at - time.monotonic())):
                    return
                self._send(app, wish)

    def _send(self, app: Celery, wish: Wish) -> None:
        """Send it; where the broker is away, until it is back."""
        while not self._over.is_set():
            try:
                app.send_task(
                    "exports.create",
                    task_id=wish.request_id,
                    queue="exports",
                    kwargs={**wish.arguments, "webhook_url": self.webhook_url},
                    retry=False,
                )
            except AWAY:
                self._over.wait(AGAIN_SECONDS)
            else:
                self.accepted.setdefault(wish.request_id, []).append(datetime.now(UTC))
                return
