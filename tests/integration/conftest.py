"""Fixtures of the integration tests: a kit whose clock and whose Uplynk are the test's own."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.factories import Clock, make_kit
from tests.uplynk import Plans, Uplynk
from worker.steps import Kit


@pytest.fixture
def clock() -> Clock:
    """Give the time, for Uplynk and the workers alike."""
    return Clock()


@pytest.fixture
def plans() -> Plans:
    """Give the courses that calls to Uplynk are to take."""
    return Plans()


@pytest.fixture
def uplynk(clock: Clock, plans: Plans) -> Uplynk:
    """Give an Uplynk without HTTP."""
    return Uplynk(clock, course=plans)


@pytest.fixture
def kit(sessions: sessionmaker[Session], tmp_path: Path, clock: Clock, uplynk: Uplynk) -> Kit:
    """Give a kit on that clock, with that Uplynk."""
    return replace(make_kit(sessions, tmp_path, now=clock), slicer=uplynk)
