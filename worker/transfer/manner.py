"""Manner: how a file is fetched."""

from collections.abc import Callable
from dataclasses import dataclass

from worker.transfer.lanes import Lanes
from worker.transfer.stall import Floor


@dataclass(frozen=True, slots=True)
class Manner:
    """How a file is fetched.

    Attributes:
        most_streams: how many connections bring it at the most.
        most_breaks: how often in a row a stream may break, or not be answered, and bring nothing,
            before that is the end of it.
        floor: the least that each stream must bring.
        lanes: the streams of all downloads from one host; None for as many as there are.
        ahead_bytes: how far the line may be ahead of the disk: whoever is to stop waits for that.
        came: is told how many bytes came, piece by piece, by each of the threads.
    """

    most_streams: int
    most_breaks: int
    floor: Floor
    lanes: Lanes | None = None
    ahead_bytes: int = 256 << 20
    came: Callable[[int], None] = lambda _size_bytes: None
