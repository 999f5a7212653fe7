"""Spans: which bytes of a file are there, and who brings the others.

Every span is half open: from its first byte to the one after its last.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

# What is less is not worth a request of its own.
LEAST_SHARED_BYTES = 1 << 20
# The rest is so many shares for each stream. So they get smaller: with the large ones there are few
# requests, and with the small ones all streams end at the same time.
SHARES_OF_ONE = 2
MOST_SHARED_BYTES = 1 << 30


class Spans:
    """A set of bytes: spans in order, apart from each other."""

    def __init__(self, spans: Sequence[Sequence[int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in spans:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give each span, the first first."""
        return zip(self._starts, self._ends, strict=True)

    @property
    def size_bytes(self) -> int:
        """How many bytes it has."""
        return sum(self._ends) - sum(self._starts)

    @property
    def prefix_bytes(self) -> int:
        """How many bytes it has before the first that it lacks."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def add(self, start: int, end: int) -> None:
        """Have the bytes from `start` to before `end`, whichever of them were there already."""
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]

    def cut(self, size_bytes: int) -> "Spans":
        """Return what it has of the first `size_bytes`."""
        return Spans([(start, min(end, size_bytes)) for start, end in self if start < size_bytes])

    def gaps(self, total_bytes: int | None) -> Iterator[tuple[int, int | None]]:
        """Give the spans that it lacks of `total_bytes`; None is as far as the file goes."""
        at = 0
        for start, end in self:
            if at < start:
                yield at, start
            at = end
        if total_bytes is None or at < total_bytes:
            yield at, total_bytes


@dataclass(slots=True, eq=False)
class Share:
    """The span that one stream brings.

    Attributes:
        at: its next byte, which moves on.
        end: where it ends, which may come nearer; None for as far as the file goes.
        reach: where that ends which its server brings, once it does: what lies behind `end` would
            come as well, if nobody else brought it.
    """

    at: int
    end: int | None
    reach: int | None = None


class Plan:
    """Who brings what: each byte that is lacking is in one share or in none, never in two."""

    def __init__(self, gaps: Sequence[tuple[int, int | None]]) -> None:
        self._free = [Share(start, end) for start, end in gaps]
        self._taken: list[Share] = []
        self._lock = Lock()

    def take(
        self, *, streams: int = 1, least: int = LEAST_SHARED_BYTES, most: int = MOST_SHARED_BYTES
    ) -> Share | None:
        """Return what to bring next: the beginning of the first gap that nobody brings.

        The file grows from its front that way, and can be read behind those who bring it.

        Args:
            streams: how many there are: one takes the whole gap, several a part of it.
            least: how many bytes a share has at the least; None comes if there are no two such.
            most: how many one of several has at the most.
        """
        with self._lock:
            size = min(self._size(streams, least), most)
            if not self._free and not self._set_free(size, least):
                return None
            share = self._cut(self._free, size, least) if streams > 1 else self._free.pop(0)
            self._taken.append(share)
            return share

    def move(self, share: Share, size_bytes: int) -> tuple[int, int]:
        """Return where the next `size_bytes` that came go to, and how many of them do.

        The rest is another's by now. They are no longer lacking, so they are to be written.
        """
        with self._lock:
            at = share.at
            if share.end is not None:
                size_bytes = min(size_bytes, share.end - at)
            share.at += size_bytes
            return at, size_bytes

    def flows(self, share: Share, reach: int | None) -> None:
        """Note that a share comes, as far as `reach`."""
        with self._lock:
            share.reach = reach

    def extend(self, share: Share) -> bool:
        """Have a share that is done go on with what follows, if that comes anyway; else False.

        That is a gap, or what another was to bring that has no answer yet.
        """
        with self._lock:
            for other in [*self._free, *self._taken]:
                if other.at == share.end and other.reach is None and _is_in(other, share):
                    share.end, other.end = other.end, other.at
                    self._free = [free for free in self._free if free is not other]
                    return True
            return False

    def end(self, share: Share) -> None:
        """Have a share that had no end end where it is: so far the file goes."""
        with self._lock:
            share.end = share.at

    def give_back(self, share: Share) -> None:
        """Have the rest of a share be anybody's, if there is one.

        It is that one's at once to whom it comes anyway.
        """
        with self._lock:
            self._taken.remove(share)
            if before := self._coming_to(share):
                before.end = share.end
            elif share.end is None or share.at < share.end:
                self._free.append(Share(share.at, share.end))
                self._free.sort(key=lambda free: free.at)

    @property
    def is_done(self) -> bool:
        """Whether nothing is lacking; the last of it may just be written."""
        with self._lock:
            return not self._free and all(each.at == each.end for each in self._taken)

    def _coming_to(self, rest: Share) -> Share | None:
        """Return the share that ends where `rest` begins, and that would bring all of that too."""
        return next(
            (each for each in self._taken if each.at < rest.at == each.end and _is_in(rest, each)),
            None,
        )

    def _size(self, streams: int, least: int) -> int:
        spans = [(each.at, each.end) for each in [*self._free, *self._taken]]
        lacking = sum(end - at for at, end in spans if end is not None)
        return max(least, lacking // (SHARES_OF_ONE * streams))

    def _set_free(self, size: int, least: int) -> bool:
        """Have the largest share be only `size` long, or half as long; False if none is large."""
        rests = [(each.end - each.at, each) for each in self._taken if each.end is not None]
        rest, largest = max(rests, key=lambda pair: pair[0], default=(0, None))
        if largest is None or rest < 2 * least:
            return False
        middle = largest.at + min(size, rest // 2)
        self._free, largest.end = [Share(middle, largest.end)], middle
        return True

    def _cut(self, free: list[Share], size: int, least: int) -> Share:
        """Return the first `size` bytes of the first that is free; or all, if little would stay."""
        first = free[0]
        if first.end is None or first.end - first.at < size + least:
            return free.pop(0)
        share = Share(first.at, first.at + size)
        first.at += size
        return share


def _is_in(rest: Share, share: Share) -> bool:
    """Return whether the stream of `share` would bring all of `rest`, and there is something."""
    return rest.end is not None and share.reach is not None and rest.at < rest.end <= share.reach
