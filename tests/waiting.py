"""Waiting for what another process does: until it is so, or the test fails."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_SECONDS = 0.05


def wait_until(
    look: Callable[[], T | None],
    *,
    seconds: float = 30.0,
    what: str = "it",
    every: float = LOOK_SECONDS,
) -> T:
    """Return the first true thing that `look` returns; fail if there is none in time.

    It is asked once in `every` seconds.
    """
    end = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {seconds:g} s; saw {seen!r}")
        time.sleep(every)
    return seen
