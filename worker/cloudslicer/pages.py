"""Pages: how many jobs of the list Uplynk gives at once, which it doesn't publish."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

LEAST = 10
# What was refused is not asked for again for so long.
REMEMBERED = timedelta(hours=1)


class PageSize:
    """How many jobs to ask for: as many as are wanted, or half as many, and so on down to LEAST.

    A server that cuts a page instead of refusing it is asked for the same again, and what it gives
    is reckoned with.

    Args:
        most: how many are wanted.
        now: gives the time.
    """

    def __init__(self, most: int, *, now: Callable[[], datetime]) -> None:
        self._most, self._now = most, now
        self._found = most
        self._found_at: datetime | None = None
        self._given: int | None = None

    def __iter__(self) -> Iterator[int]:
        """Give the sizes to ask for, each after the one before it was refused."""
        if self._found_at is not None and self._now() - self._found_at >= REMEMBERED:
            self._found, self._found_at = self._most, None
        size = self._found
        while size >= 2 * LEAST:
            yield size
            size //= 2
        yield min(size, LEAST)

    @property
    def size(self) -> int:
        """The size that was not refused, or what is given of it, as far as that is known."""
        return self._found if self._given is None else min(self._found, self._given)

    @property
    def most(self) -> int:
        """The size that is asked for first."""
        return self._found

    def fits(self, size: int) -> None:
        """Remember that a page of this size came, where a larger one was refused."""
        if size != self._found:
            self._found, self._found_at = size, self._now()

    def came(self, number: int, *, is_last: bool) -> None:
        """Learn from a page of so many jobs whether pages are cut: it is not the list's last."""
        if number >= (self._given or self._found):
            self._given = None if number >= self._found else number
        elif not is_last:
            self._given = number
