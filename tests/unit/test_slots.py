"""Slots: a limit over threads and forked children, that outlives their deaths."""

import os
import signal
from contextlib import ExitStack

from worker.slots import Slots


def test_without_a_limit_there_is_always_a_slot() -> None:
    slots = Slots()
    with ExitStack() as stack:
        assert all(stack.enter_context(slots.one()) for _ in range(20))


def test_no_more_than_the_limit_hold_one() -> None:
    slots = Slots()
    slots.limit(2)
    with ExitStack() as stack:
        assert [stack.enter_context(slots.one()) for _ in range(3)] == [True, True, False]
    with slots.one() as free:
        assert free


def test_a_killed_child_gives_its_slot_back() -> None:
    slots = Slots()
    slots.limit(1)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with slots.one():
            os.write(tell, b"x")
            signal.pause()
    os.read(ready, 1)
    with slots.one() as free:
        assert not free
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with slots.one() as free:
        assert free
    os.close(ready)
    os.close(tell)


def test_slots_within_others_are_no_more_than_those() -> None:
    outer = Slots(limit=3)
    ones, others = Slots(limit=2, within=outer), Slots(limit=2, within=outer)
    with ExitStack() as stack:
        assert [stack.enter_context(ones.one()) for _ in range(3)] == [True, True, False]
        assert [stack.enter_context(others.one()) for _ in range(2)] == [True, False]
    with others.one() as free:
        assert free
