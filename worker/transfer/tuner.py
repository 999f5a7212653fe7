"""Tuner: how many streams bring a file is found out by what more of them, or fewer, bring."""

from collections.abc import Generator

GAIN = 1.1  # more streams are kept if they bring so many times as much
LOSS = 1.05  # fewer, if the others brought no more than so many times as much
# What helps changes with the line; after so many rates it is tried anew.
RATES_UNTIL_NEXT_TRY = 60

Counts = Generator[int, float, None]


def tuner(*, most: int, first: int) -> Counts:
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
