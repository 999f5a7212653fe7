import math

import pytest

from emulator.clock import Clock


class Real:
    """A count of real seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_time_goes_by_at_the_given_speed() -> None:
    real = Real()
    clock = Clock(1000.0, speed=60.0, real=real)
    real.seconds = 2.0
    assert clock.now() == 1120.0


def test_advance_adds_to_time_gone_by() -> None:
    real = Real()
    clock = Clock(1000.0, real=real)
    clock.advance(72 * 3600)
    real.seconds = 1.0
    assert clock.now() == 1000.0 + 72 * 3600 + 1


def test_a_new_speed_does_not_change_the_past() -> None:
    real = Real()
    clock = Clock(0.0, speed=1.0, real=real)
    real.seconds = 10.0
    clock.run_at(100.0)
    assert clock.now() == 10.0
    real.seconds = 11.0
    assert clock.now() == 110.0
    assert clock.speed == 100.0


def test_speed_zero_stands_still() -> None:
    real = Real()
    clock = Clock(5.0, speed=0.0, real=real)
    real.seconds = 1e6
    assert clock.now() == 5.0


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_time_never_goes_back_nor_away(seconds: float) -> None:
    clock = Clock(0.0, real=Real())
    with pytest.raises(ValueError, match="advance_seconds"):
        clock.advance(seconds)
    with pytest.raises(ValueError, match="speed"):
        clock.run_at(seconds)
    assert clock.now() == 0.0
