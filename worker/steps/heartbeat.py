"""Heartbeat: a long step keeps its claim, and learns when it has lost it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import timedelta
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from models import Export, claims
from worker.errors import ClaimLost, Stopping, Transient
from worker.logs import get_logger
from worker.steps.kit import Kit

# A claim is renewed this often in its life: three renewals may fail, and it still holds.
BEATS = 4
# And at least this often: by it a step learns that its export was cancelled.
MOST_BETWEEN = timedelta(seconds=2)
# How soon it is seen that the worker was told to stop; no claim is renewed more often.
LOOK_SECONDS = 0.5
# How much of a rate is what was measured last.
RATE_WEIGHT = 0.3

_log = get_logger(__name__)


class Rate:
    """How fast something grows: what it did of late counts for more."""

    def __init__(self) -> None:
        self._seen: tuple[int, float] | None = None
        self._rate: float | None = None

    def of(self, size: int | None, now: float) -> float | None:
        """Return how much it grows a second, being of this size `now` (seconds); None at first."""
        if size is None:
            return None
        before, self._seen = self._seen, (size, now)
        if before is None or now <= before[1]:
            return self._rate
        of_late = max(size - before[0], 0) / (now - before[1])
        weight = RATE_WEIGHT if self._rate is not None else 1.0
        self._rate = weight * of_late + (1 - weight) * (self._rate or 0.0)
        return self._rate


class Heartbeat:
    """Renews the claim of `export` from a thread of its own, for as long as the step lasts.

    Each renewal sets down the progress as well. Most steps are over before there is such a thread.

    Args:
        kit: what to work with.
        export: as it was claimed just now.
        limit: how long the step may last; None for as long as it takes.
    """

    def __init__(self, kit: Kit, export: Export, *, limit: timedelta | None = None) -> None:
        assert export.claim is not None  # noqa: S101  (whoever takes a step has claimed it)
        now = kit.now()
        self._held_until = export.claimed_until or now
        self._pause = min(kit.settings.claim / BEATS, MOST_BETWEEN).total_seconds()
        self._late_at = None if limit is None else now + limit
        self._bytes_done: int | None = None
        self._bytes_total: int | None = None
        self._rate = Rate()
        self._kit = kit
        self._export_id = export.id
        self._claim = export.claim
        self._over = Event()
        self._lost = Event()
        self._interrupt: Callable[[], None] | None = None
        self._interrupt_lock = Lock()
        self._begun_at = time.monotonic()
        self._context = copy_context()  # so that its lines name what the step's do
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        self._kit.later.begin(self._begin)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        if not self._kit.later.call_off(self._begin) and self._thread is not None:
            self._thread.join()

    def progress(self, bytes_done: int, bytes_total: int | None) -> None:
        """Note how far the step has come, and how far it is to go if that is known.

        Raises:
            ClaimLost: somebody else took over.
        """
        self._bytes_done, self._bytes_total = bytes_done, bytes_total
        self.check()

    def check(self) -> None:
        """Let the step go on while its claim holds.

        Raises:
            ClaimLost: somebody else took over, or may have: the claim has run out.
            Stopping: this worker was told to stop.
            Transient: the step lasts longer than it may.
        """
        now = self._kit.now()
        # the thread may not have looked yet in a process that stood still
        if self._lost.is_set() or now > self._held_until:
            raise ClaimLost
        if self._kit.stopping():
            raise Stopping
        if self._late_at is not None and now > self._late_at:
            raise Transient(
                "download_deadline", "the download did not end in time (DOWNLOAD_DEADLINE_HOURS)"
            )

    @contextmanager
    def watched(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Have `interrupt` called from the heartbeat's thread when `check` would raise meanwhile.

        Raises:
            ClaimLost: somebody else took over already.
            Stopping: this worker was told to stop already.
        """
        with self._interrupt_lock:
            self._interrupt = interrupt
        try:
            self.check()
            yield
        finally:
            with self._interrupt_lock:
                self._interrupt = None

    def _cut(self) -> None:
        with self._interrupt_lock:
            if self._interrupt is not None:
                self._interrupt()

    def _begin(self) -> None:
        name = f"heartbeat-{self._export_id}"
        thread = Thread(target=self._context.run, args=(self._beat,), name=name, daemon=True)
        thread.start()
        self._thread = thread

    def _beat(self) -> None:
        life, pause = self._kit.settings.claim, self._pause
        next_at = self._begun_at + pause
        look_at = self._begun_at + LOOK_SECONDS
        while not self._over.wait(max(look_at - time.monotonic(), 0)):
            look_at = time.monotonic() + LOOK_SECONDS
            if self._kit.stopping():
                self._cut()
            if time.monotonic() < next_at:
                continue
            next_at = time.monotonic() + pause
            now = self._kit.now()
            try:
                with self._kit.sessions.begin() as session:
                    renewed = claims.renew(
                        session,
                        self._export_id,
                        self._claim,
                        until=now + life,
                        bytes_done=self._bytes_done,
                        bytes_total=self._bytes_total,
                        bytes_per_second=self._rate.of(self._bytes_done, time.monotonic()),
                    )
            except SQLAlchemyError:
                _log.warning("claim not renewed")
                renewed = now < self._held_until  # nobody can have taken it before it ran out
            else:
                self._held_until = now + life if renewed else now
            if not renewed:
                self._lost.set()
                self._cut()
                return
