"""A commit whose answer is never heard: what it brought stands, and nothing is done twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from models import Export, History, Notification, Request, State
from tests.factories import make_export, make_kit
from tests.uplynk import Plans
from worker.steps import Kit, download, poll, submit

Sessions = sessionmaker[Session]


@contextmanager
def unheard(sessions: Sessions, state: State) -> Iterator[list[State]]:
    """Have the connection break once, just after the commit by which an export is in `state`."""
    broken: list[State] = []

    def break_off(session: Session) -> None:
        with session.get_bind().connect() as other:  # type: ignore[union-attr]
            is_there = other.scalar(select(Export.id).where(Export.state == state)) is not None
        if is_there and not broken:
            broken.append(state)
            raise OperationalError("COMMIT", {}, ConnectionError("server closed the connection"))

    event.listen(sessions, "after_commit", break_off)
    try:
        yield broken
    finally:
        event.remove(sessions, "after_commit", break_off)


def states(sessions: Sessions, export: Export) -> list[State]:
    with sessions.begin() as session:
        rows = select(History.to_state).where(History.export_id == export.id).order_by(History.id)
        return list(session.scalars(rows))


def test_the_job_stays_the_exports_and_is_neither_stopped_nor_asked_for_again(
    sessions: Sessions, kit: Kit, plans: Plans
) -> None:
    export = make_export(sessions, state=State.REQUESTED, due_at=kit.now())
    with unheard(sessions, State.EXPORTING) as broken:
        submit(kit)
    submit(kit)
    assert broken == [State.EXPORTING]
    assert states(sessions, export) == [State.SUBMITTING, State.EXPORTING]
    assert (plans.calls["create_export"], plans.calls["cancel"]) == (1, 0)
    with sessions.begin() as session:
        assert session.get_one(Export, export.id).job_id is not None


def test_a_file_is_stored_once_and_its_end_is_told_once(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    asks = {"callback_task": "cms.done", "callback_queue": "cms"}
    with sessions.begin() as session:
        session.add(Request(id="r", export_id=export.id, created_at=export.created_at, **asks))
    emulator.control.asset(export.asset, run_seconds=0)
    kit = make_kit(sessions, tmp_path, emulator=emulator, poll_min_seconds=0.05)
    submit(kit)
    with sessions.begin() as session:
        session.get_one(Export, export.id).due_at = export.due_at
    poll(kit)
    with unheard(sessions, State.STORED) as broken:
        download(kit, export.id)
    assert broken == [State.STORED]
    assert states(sessions, export)[-2:] == [State.DOWNLOADING, State.STORED]
    with sessions.begin() as session:
        [told] = session.scalars(select(Notification))
    assert told.type == "export.stored"
    assert [path.suffix for path in (tmp_path / "exports").rglob("*.mp4")] == [".mp4"]
