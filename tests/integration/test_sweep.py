"""Sweep: whatever is overdue is woken, and nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from models import State
from tests.factories import make_export, make_kit
from worker.steps import Step, Wake, sweep
from worker.steps.sweep import MOST_DOWNLOADS

Sessions = sessionmaker[Session]


def test_nothing_is_woken_where_nothing_is_due(sessions: Sessions, tmp_path: Path) -> None:
    make_export(sessions, state=State.STORED, due_at=None)
    assert sweep(make_kit(sessions, tmp_path)).wakes == ()


def test_every_state_that_is_overdue_is_woken(sessions: Sessions, tmp_path: Path) -> None:
    make_export(sessions, state=State.REQUESTED)
    make_export(sessions, state=State.EXPORTING, job_id="j1")
    file = make_export(sessions, state=State.DOWNLOADING, job_id="j2")
    wakes = sweep(make_kit(sessions, tmp_path)).wakes
    assert wakes == (Wake(Step.SUBMIT), Wake(Step.POLL), Wake(Step.DOWNLOAD, file.id))


def test_an_outcome_that_is_unknown_is_woken(sessions: Sessions, tmp_path: Path) -> None:
    make_export(sessions, state=State.SUBMITTING)
    assert sweep(make_kit(sessions, tmp_path)).wakes == (Wake(Step.SUBMIT),)


def test_what_is_due_later_sets_the_alarm(sessions: Sessions, tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(minutes=5)
    make_export(sessions, state=State.EXPORTING, due_at=later, job_id="j1")
    make_export(sessions, state=State.REQUESTED, due_at=later)
    wakes = sweep(make_kit(sessions, tmp_path)).wakes
    assert wakes == (Wake(Step.SUBMIT, at=later), Wake(Step.POLL, at=later))


def test_downloads_are_woken_by_priority_and_a_few_at_a_time(
    sessions: Sessions, tmp_path: Path
) -> None:
    for number in range(MOST_DOWNLOADS + 5):
        make_export(sessions, state=State.DOWNLOADING, job_id=f"j{number}")
    urgent = make_export(sessions, state=State.DOWNLOADING, job_id="urgent", priority=5)
    wakes = sweep(make_kit(sessions, tmp_path)).wakes
    assert len(wakes) == MOST_DOWNLOADS
    assert wakes[0] == Wake(Step.DOWNLOAD, urgent.id)
