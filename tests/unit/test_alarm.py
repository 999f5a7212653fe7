"""Alarm: one time a step, shared with forked children, that rings once; many wakes are one."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from worker.alarm import A_FEW, A_MOMENT, Alarm
from worker.steps import Step

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_it_rings_when_the_time_has_come_and_once() -> None:
    alarm = Alarm()
    alarm.set(Step.POLL, NOON)
    assert alarm.due(NOON - timedelta(seconds=1)) == []
    assert alarm.due(NOON) == [Step.POLL]
    assert alarm.due(NOON + timedelta(hours=1)) == []


def test_the_earlier_time_counts() -> None:
    alarm = Alarm()
    alarm.set(Step.POLL, NOON)
    alarm.set(Step.POLL, NOON + timedelta(minutes=1))
    assert alarm.next(Step.POLL) == NOON
    alarm.set(Step.POLL, NOON - timedelta(minutes=1))
    assert alarm.next(Step.POLL) == NOON - timedelta(minutes=1)


def test_each_step_has_a_time_of_its_own() -> None:
    alarm = Alarm()
    alarm.set(Step.POLL, NOON)
    alarm.set(Step.SUBMIT, NOON + timedelta(seconds=5))
    assert alarm.due(NOON) == [Step.POLL]
    assert alarm.next(Step.POLL) is None
    assert alarm.next(Step.SUBMIT) == NOON + timedelta(seconds=5)


def test_a_forked_child_sets_its_parents_alarm() -> None:
    alarm = Alarm()
    child = os.fork()
    if child == 0:
        alarm.set(Step.POLL, NOON)
        os._exit(0)
    os.waitpid(child, 0)
    assert alarm.next(Step.POLL) == NOON


def test_of_those_who_want_a_step_within_a_moment_a_few_have_it_and_the_others_one_more() -> None:
    alarm = Alarm()
    wanted = [alarm.is_now(Step.SUBMIT, NOON + A_MOMENT * part / 100) for part in range(100)]
    assert wanted == [True] * A_FEW + [False] * (100 - A_FEW)
    assert alarm.is_now(Step.POLL, NOON + A_MOMENT / 2)
    assert alarm.due(NOON + A_MOMENT / 2) == []
    assert alarm.due(NOON + A_MOMENT) == [Step.SUBMIT]
    assert alarm.due(NOON + 2 * A_MOMENT) == []
    assert alarm.is_now(Step.SUBMIT, NOON + 2 * A_MOMENT)


def test_what_the_alarm_woke_is_one_of_the_few() -> None:
    alarm = Alarm()
    alarm.set(Step.SUBMIT, NOON)
    assert alarm.due(NOON) == [Step.SUBMIT]
    wanted = [alarm.is_now(Step.SUBMIT, NOON + A_MOMENT / 2) for _ in range(A_FEW)]
    assert wanted == [True] * (A_FEW - 1) + [False]
    assert alarm.due(NOON + A_MOMENT) == [Step.SUBMIT]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_was_set_keeps_nobody_waiting(hours: int) -> None:
    alarm = Alarm()
    assert all(alarm.is_now(Step.SUBMIT, NOON) for _ in range(A_FEW))
    assert alarm.is_now(Step.SUBMIT, NOON + timedelta(hours=hours))


def test_what_a_forked_child_wants_is_one_of_the_few() -> None:
    alarm = Alarm()
    child = os.fork()
    if child == 0:
        os._exit(0 if all(alarm.is_now(Step.SUBMIT, NOON) for _ in range(A_FEW)) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not alarm.is_now(Step.SUBMIT, NOON + A_MOMENT / 2)
