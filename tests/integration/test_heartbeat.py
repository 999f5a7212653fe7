"""Heartbeat: what lasts keeps its claim, by a thread that what is over at once does not have."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import enumerate as all_threads
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session, sessionmaker

from models import Export, State
from tests.factories import make_export, make_kit, reload
from tests.waiting import wait_until
from worker.steps import Kit, later
from worker.steps.heartbeat import Heartbeat

Sessions = sessionmaker[Session]

CLAIM = timedelta(seconds=2)


@pytest.fixture
def kit(sessions: Sessions, tmp_path: Path) -> Kit:
    return make_kit(sessions, tmp_path, claim_seconds=CLAIM.total_seconds())


@pytest.fixture
def export(sessions: Sessions) -> Export:
    until = datetime.now(UTC) + CLAIM
    held = {"claim": uuid4(), "claimed_until": until, "due_at": until}
    return make_export(sessions, state=State.DOWNLOADING, **held)


def beating(export: Export) -> bool:
    return any(each.name == f"heartbeat-{export.id}" for each in all_threads())


def test_a_step_that_is_over_at_once_begins_no_thread(kit: Kit, export: Export) -> None:
    begun = time.monotonic()
    with Heartbeat(kit, export) as heartbeat:
        heartbeat.check()
        was_beating = beating(export)
    assert not was_beating or time.monotonic() - begun > later.SECONDS  # this machine stood still
    wait_until(lambda: all(each.name != "later" for each in all_threads()))
    assert not beating(export)


def test_a_step_that_lasts_keeps_its_claim_and_its_thread_ends_with_it(
    kit: Kit, export: Export, sessions: Sessions
) -> None:
    assert export.claimed_until is not None
    with Heartbeat(kit, export) as heartbeat:
        heartbeat.progress(5, 9)
        wait_until(lambda: beating(export))
        wait_until(lambda: reload(sessions, export).claimed_until != export.claimed_until)
        heartbeat.check()
    assert not beating(export)
    there = reload(sessions, export)
    assert there.claimed_until is not None
    assert there.claimed_until > export.claimed_until
    assert (there.claim, there.bytes_done, there.bytes_total) == (export.claim, 5, 9)
