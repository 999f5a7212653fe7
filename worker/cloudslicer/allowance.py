"""Allowance: how many calls a second all workers of an account may make to Uplynk together.

Uplynk publishes no limit (uplynk-api: transport). So there is one of ours, UPLYNK_CALLS_PER_SECOND,
halved each time that Uplynk says it is too much (HTTP 429 or 503), and doubled again for each
minute in which it didn't. The count is kept where the broker is, or in this process where that is
no Redis or can't be reached.
"""

import time
from collections.abc import Callable
from enum import StrEnum
from math import ceil
from threading import Lock

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import MovingWindowRateLimiter

from worker.logs import get_logger

# This part of the rate is each kind's own, so that none keeps another waiting; the rest is for
# whichever comes.
OWN = 0.2
COMMON = 1 - 3 * OWN
# So many calls may come at once at least, however few are made in a second.
LEAST_AT_ONCE = 4
# Whoever calls waits for its turn so long, at the most.
PATIENCE_SECONDS = 1.0
PAUSE_SECONDS = 0.02
# The rate is halved so often at the most, and no more often than this many times at all.
HALVED_EVERY_SECONDS = 2
MOST_HALVINGS = 5
RAISED_AFTER_SECONDS = 60
# How long the number of halvings that was read is taken for true, and how long the count is kept
# in this process after the broker could not be reached.
READ_EVERY_SECONDS = 1.0
APART_SECONDS = 10.0
STORAGE_SECONDS = 2

_log = get_logger(__name__)


class Kind(StrEnum):
    """What a call is for; each has a part of the rate that is its own."""

    SUBMIT = "submit"
    POLL = "poll"
    OTHER = "other"


class Allowance:
    """The calls that may be made, counted together by all workers of an account.

    Args:
        calls_per_second: how many, as long as Uplynk doesn't complain.
        account: the account's user id.
        storage: where the workers count together; None for each process by itself.
        stopping: whether this worker was told to stop: then nobody waits.
    """

    def __init__(
        self,
        calls_per_second: float,
        account: str,
        *,
        storage: Storage | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._most, self._account = calls_per_second, account
        self._alone: Storage = MemoryStorage()
        self._lock = Lock()
        self._shared = storage or self._alone
        self._stopping = stopping
        self._apart_until = self._read_at = -APART_SECONDS
        self._halvings = 0

    @property
    def rate(self) -> float:
        """How many calls a second may be made, as was last seen."""
        return float(self._most / (1 << self._halvings))

    def take(self, kind: Kind) -> bool:
        """Wait for a turn, a moment at the most; returns whether it came.

        A call that may not wait for long is made all the same, then.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while not self._hit(kind):
            if self._stopping() or time.monotonic() >= end:
                return False
            time.sleep(PAUSE_SECONDS)
        return True

    def slow_down(self) -> None:
        """Halve the rate: Uplynk said that it is too much."""
        self._tried(self._slow_down)

    def _hit(self, kind: Kind) -> bool:
        return self._tried(lambda storage: self._hit_at(storage, kind))

    def _hit_at(self, storage: Storage, kind: Kind) -> bool:
        if time.monotonic() - self._read_at >= READ_EVERY_SECONDS:
            self._halvings = self._halved(storage)
            self._read_at = time.monotonic()
        limiter, rate = MovingWindowRateLimiter(storage), self.rate
        own = limiter.hit(item(rate * OWN), self._account, kind)
        return own or limiter.hit(item(rate * COMMON), self._account)

    def _slow_down(self, storage: Storage) -> bool:
        if storage.incr(self.key("recently"), HALVED_EVERY_SECONDS) > 1:
            return False  # it is a worker's answer to a call that was made before
        halvings = min(self._halved(storage) + 1, MOST_HALVINGS)
        for each in range(1, halvings + 1):  # the last one that came is the first to go
            storage.clear(self.key(each))
            storage.incr(self.key(each), RAISED_AFTER_SECONDS * (halvings + 1 - each))
        self._halvings, self._read_at = halvings, time.monotonic()
        _log.warning("fewer calls to uplynk", calls_per_second=self.rate)
        return True

    def _halved(self, storage: Storage) -> int:
        halvings = 0
        while halvings < MOST_HALVINGS and storage.get(self.key(halvings + 1)):
            halvings += 1
        return halvings

    def key(self, what: object) -> str:
        """Return the name under which something is known of the halvings: the n-th, or a word."""
        return f"uplynk-export/slow/{self._account}/{what}"

    def _tried(self, act: Callable[[Storage], bool]) -> bool:
        """Return what `act` returns, on the workers' storage or, where that is away, on ours."""
        if self._shared is not self._alone and time.monotonic() >= self._apart_until:
            try:
                return act(self._shared)
            except StorageError as error:
                why = type(error.storage_error).__name__
                _log.warning("calls are counted by each process", message=why)
                self._apart_until = time.monotonic() + APART_SECONDS
        with self._lock:  # its timer may be started by two threads at once, which is an error
            return act(self._alone)


def storage_at(broker_url: str, *, seconds: float = STORAGE_SECONDS) -> Storage | None:
    """Return where workers of this broker count together; None where it is no Redis.

    One that does not answer within so many seconds is away.
    """
    if not broker_url.startswith(("redis://", "rediss://")):
        return None
    return RedisStorage(
        broker_url,
        wrap_exceptions=True,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
    )


def item(rate: float) -> RateLimitItem:
    """Return the limit of so many calls a second; of few, it is counted over more seconds."""
    seconds = max(ceil(LEAST_AT_ONCE / rate), 1)
    return RateLimitItemPerSecond(int(rate * seconds), seconds, namespace="uplynk-export")
