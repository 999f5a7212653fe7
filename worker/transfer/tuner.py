"""Tuner: how many streams bring a file is found out by what more of them, or fewer, bring."""

import time
from collections.abc import Callable, Generator

# A rate is taken over this long, once all streams bring something, or have had so long to begin.
RATE_SECONDS = 0.5
BEGIN_SECONDS = 3.0
# The first stream is looked at for so long. If this process computes for so much of that time, it
# is what is too slow, and no further stream helps it; else there are so many to begin with.
LOOK_SECONDS = 0.1
BUSY_SHARE = 0.9
FIRST_STREAMS = 4
GAIN = 1.1  # more streams are kept if they bring so many times as much
LOSS = 1.05  # fewer, if the others brought no more than so many times as much
# What helps changes with the line; after so many rates it is tried anew.
RATES_UNTIL_NEXT_TRY = 60

Clock = Callable[[], float]


def tuner(*, most: int, first: int) -> Generator[int, float, None]:
    """Give how many streams there are to be now, and be sent the rate that so many brought.

    Their number is doubled as long as that helps; if it never did, it is halved as long as that
    does no harm: a connection more than needed is one that others don't get.

    Args:
        most: the most streams.
        first: how many there are to begin with.
    """
    count = min(first, most)
    while True:
        rate = yield count
        climbed = False
        while count < most:
            more = min(2 * count, most)
            found = yield more
            if found <= GAIN * rate:
                break
            count, rate, climbed = more, found, True
        while count > 1 and not climbed:
            found = yield count // 2
            if found * LOSS < rate:
                break
            count //= 2
        for _ in range(RATES_UNTIL_NEXT_TRY):
            yield count


class Pace:
    """Says how many streams there are to be, by the rate at which the file comes.

    Args:
        clock: gives the seconds by which rates are taken.
        used: gives the seconds of CPU that this process has used.

    Attributes:
        rate_of_one: how many bytes per second each of them brought; 0 if that is not known yet.
    """

    def __init__(self, clock: Clock = time.monotonic, used: Clock = time.process_time) -> None:
        self.rate_of_one = 0.0
        self._clock, self._used = clock, used
        self._most = self._expected = 1
        self._counts: Generator[int, float, None] | None = None
        self._expected_since, self._have_begun = 0.0, True
        self._since, self._used_then, self._done_then = 0.0, 0.0, 0

    def begin(self, done: int, *, most: int) -> None:
        """Begin with one stream, and with `done` bytes; there are to be `most` at the most."""
        self._most = most
        self._take_rate_from(done)

    def expect(self, streams: int) -> None:
        """Know that there are so many streams by now; those that are new have yet to begin."""
        if streams > self._expected:
            self._expected_since, self._have_begun = self._clock(), False
        self._expected = streams

    def count(self, done: int, *, flowing: int) -> int | None:
        """Return how many streams there are to be, if that is to be said now.

        Args:
            done: how many bytes have come by now.
            flowing: how many streams bring something.
        """
        now = self._clock()
        if not self._have_begun:
            is_late = now >= self._expected_since + BEGIN_SECONDS
            self._have_begun = is_late or flowing >= self._expected
            self._take_rate_from(done)
            return None
        seconds = now - self._since
        if seconds < (RATE_SECONDS if self._counts else LOOK_SECONDS):
            return None
        rate = (done - self._done_then) / seconds
        used = self._used() - self._used_then
        self.rate_of_one = rate / self._expected
        self._take_rate_from(done)
        if self._counts is None:
            is_busy = used >= BUSY_SHARE * seconds
            self._counts = tuner(most=self._most, first=1 if is_busy else FIRST_STREAMS)
            return next(self._counts)
        return self._counts.send(rate)

    def _take_rate_from(self, done: int) -> None:
        self._since, self._used_then = self._clock(), self._used()
        self._done_then = done
