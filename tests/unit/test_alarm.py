"""Alarm: one time a step, shared with forked children, that rings once."""

import os
from datetime import UTC, datetime, timedelta

from worker.alarm import Alarm
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
