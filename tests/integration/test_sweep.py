"""Sweep: whatever is overdue is woken, and nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy.orm import Session, sessionmaker

from models import State
from tests.factories import make_export, make_kit
from worker.steps import Kit, Step, Wake, sweep
from worker.steps.sweep import MOST_DOWNLOADS
from worker.transfer.part import Origin
from worker.transfer.parts import open_part

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


def test_a_download_that_is_due_later_sets_the_alarm_of_the_sweep(
    sessions: Sessions, tmp_path: Path
) -> None:
    later = datetime.now(UTC) + timedelta(minutes=5)
    make_export(sessions, state=State.DOWNLOADING, due_at=later, job_id="j1")
    assert sweep(make_kit(sessions, tmp_path)).wakes == (Wake(Step.SWEEP, at=later),)


def test_parts_of_exports_that_have_ended_are_removed_but_none_that_is_written_to(
    sessions: Sessions, tmp_path: Path
) -> None:
    kit = make_kit(sessions, tmp_path)
    ended = make_export(sessions, state=State.CANCELLED, due_at=None)
    written = make_export(sessions, state=State.FAILED, due_at=None)
    waiting = make_export(sessions, state=State.DOWNLOADING, job_id="j1")
    for export in (ended, waiting):
        left_behind(kit, export.id)
    left_behind(kit, uuid4())  # of another installation, it may be
    with open_part(kit.settings.scratch_dir, written.id, uuid4()) as part:
        before = set(kit.settings.scratch_dir.iterdir())
        sweep(kit)
        gone = before - set(kit.settings.scratch_dir.iterdir())
        assert part.path.exists()
    assert {path.name[:36] for path in gone} == {str(ended.id)}


def left_behind(kit: Kit, export_id: UUID) -> None:
    """Leave a part of some bytes in the scratch folder, as a killed worker does."""
    with open_part(kit.settings.scratch_dir, export_id, uuid4()) as part:
        part.begin(Origin("http://h/f.mp4", '"tag"', 100))
        part.write(0, b"half of it")
