"""Stall: what comes too slowly is given up, and what pauses for a moment is not."""

import pytest

from worker.errors import Transient
from worker.transfer.stall import Floor, Meter


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_drip_is_given_up_after_its_time_in_words() -> None:
    clock = Seconds()
    meter = Meter(Floor(1000, 60), clock)
    for _ in range(59):
        clock.now += 1
        meter.add(10)
    clock.now += 1
    with pytest.raises(Transient, match="600 bytes came in 60 s") as failed:
        meter.add(10)
    assert failed.value.code == "file_stalled"


def test_what_is_fast_on_the_average_may_pause() -> None:
    clock = Seconds()
    meter = Meter(Floor(1000, 60), clock)
    for _ in range(10):
        meter.add(60_000)
        clock.now += 59
        meter.add(1)
        clock.now += 2
        meter.add(60_000)


def test_what_was_fast_once_is_no_excuse() -> None:
    clock = Seconds()
    meter = Meter(Floor(1000, 60), clock)
    meter.add(10**9)
    clock.now += 60
    meter.add(0)
    clock.now += 60
    with pytest.raises(Transient):
        meter.add(1)
