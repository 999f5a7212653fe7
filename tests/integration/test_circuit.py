"""Circuit: an outage of Uplynk's is no export's fault, and a call that fails alone is no outage."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from models import Breaker, Export, State
from tests.factories import Clock, make_export, make_kit
from tests.marks import repeats
from worker.errors import Transient
from worker.steps import Kit, poll, submit
from worker.steps.circuit import LEAST_OUTAGE, PROBE_FIRST, PROBE_MOST, TRIPS_AT

Sessions = sessionmaker[Session]

AWAY = {"status": 503, "body": "html"}


@pytest.fixture
def uplynk(tmp_path: Path) -> Iterator[Emulator]:
    """Give an emulator whose jobs take half an hour of its own time, which stands still."""
    settings = EmulatorSettings(
        speed=0, run_seconds=1800, media_seconds=1, media_dir=tmp_path / "media"
    )
    with Emulator(settings) as emulator:
        yield emulator


def states(sessions: Sessions) -> set[State]:
    with sessions.begin() as session:
        return set(session.scalars(select(Export.state).where(Export.state != State.STORED)))


def breaker(sessions: Sessions) -> Breaker:
    with sessions.begin() as session:
        return session.scalars(select(Breaker)).one()


def calls(emulator: Emulator) -> int:
    return sum(emulator.control.calls()["calls"].values())


def pass_time(
    kits: list[Kit], clock: Clock, emulator: Emulator, *, hours: float, every: float = 60
) -> None:
    """Have every worker submit and poll each so many seconds, for so long."""
    step = timedelta(seconds=every)
    for _ in range(int(timedelta(hours=hours) / step)):
        for kit in kits:
            submit(kit)
            poll(kit)
        clock.time += step
        emulator.advance(step.total_seconds())


@repeats
def test_an_hour_without_uplynk_costs_a_probe_a_minute_and_no_export(
    sessions: Sessions, tmp_path: Path, uplynk: Emulator
) -> None:
    clock = Clock()
    limits: dict[str, Any] = {
        "export_deadline_hours": 1.0,
        "retry_deadline_hours": 0.5,
        "total_deadline_hours": 2,
    }
    kits = [
        make_kit(sessions, tmp_path, emulator=uplynk, now=clock, max_exporting=40, **limits)
        for _ in range(2)
    ]
    for minute in range(120):  # files are brought all the while, so that there is no backlog
        brought_at = clock.time + timedelta(minutes=minute)
        make_export(sessions, state=State.STORED, state_since=brought_at, due_at=None)
    for _ in range(50):
        make_export(sessions, state=State.REQUESTED, due_at=clock.time, created_at=clock.time)
    submit(kits[0])
    submit(kits[1])
    assert states(sessions) == {State.REQUESTED, State.EXPORTING}
    uplynk.control.fault("*", "status", **AWAY)
    before = calls(uplynk)
    pass_time(kits, clock, uplynk, hours=1)
    # until it was known; then the probes, each of two calls, from the shortest wait to the longest
    most_probes = 60 + PROBE_MOST / PROBE_FIRST
    assert calls(uplynk) - before <= TRIPS_AT + 2 * most_probes
    assert breaker(sessions).opened_at is not None
    assert states(sessions) == {State.REQUESTED, State.EXPORTING}

    uplynk.control.clear_faults()
    pass_time(kits, clock, uplynk, hours=0.9)
    assert states(sessions) == {State.DOWNLOADING}
    assert len(uplynk.control.jobs()) == 50


def test_a_probe_is_made_by_one_worker_only(
    sessions: Sessions, tmp_path: Path, uplynk: Emulator
) -> None:
    clock = Clock()
    kits = [make_kit(sessions, tmp_path, emulator=uplynk, now=clock) for _ in range(4)]
    make_export(sessions, state=State.EXPORTING, job_id="j", due_at=clock.time)
    fail(kits[0])
    clock.time += PROBE_MOST
    uplynk.control.fault("jobs/list", "status", **AWAY)
    uplynk.control.fault("jobs/get", "status", **AWAY)
    before = calls(uplynk)
    for kit in kits:
        submit(kit)
        poll(kit)
    assert calls(uplynk) - before == 2


def fail(kit: Kit) -> None:
    """Have as many calls fail as open the circuit."""
    for _ in range(TRIPS_AT):
        with pytest.raises(Transient), kit.circuit.watching():
            raise Transient("uplynk_unavailable", "no answer")
    assert kit.circuit.is_open


@pytest.mark.parametrize("call", ["jobs/list", "jobs/get"])
def test_a_call_that_is_out_of_order_by_itself_holds_up_none_of_the_others(
    call: str, sessions: Sessions, tmp_path: Path, uplynk: Emulator
) -> None:
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=uplynk, now=clock)
    uplynk.control.fault(call, "status", **AWAY)
    fail(kit)
    clock.time += PROBE_MOST
    make_export(sessions, state=State.REQUESTED, due_at=clock.time)
    submit(kit)
    assert states(sessions) == {State.EXPORTING}
    assert breaker(sessions).opened_at is None


def test_an_answer_that_is_a_refusal_is_one(
    sessions: Sessions, tmp_path: Path, uplynk: Emulator
) -> None:
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=uplynk, now=clock)
    uplynk.control.fault("jobs/list", "error", code=7, msg="Not for you")
    fail(kit)
    clock.time += PROBE_MOST
    submit(kit)
    assert breaker(sessions).opened_at is None


@pytest.mark.parametrize(
    ("outage", "excused"), [(LEAST_OUTAGE, True), (LEAST_OUTAGE - timedelta(seconds=1), False)]
)
def test_only_an_outage_of_some_length_excuses_failures(
    outage: timedelta, *, excused: bool, sessions: Sessions, tmp_path: Path, uplynk: Emulator
) -> None:
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=uplynk, now=clock)
    fail(kit)
    clock.time += outage
    submit(kit)
    assert breaker(sessions).opened_at is None
    assert kit.circuit.ended_at == (clock.time if excused else None)


@repeats
def test_an_export_whose_looks_alone_are_not_answered_ends_in_words(
    sessions: Sessions, tmp_path: Path, uplynk: Emulator
) -> None:
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=uplynk, now=clock, retry_deadline_hours=1.0)
    uplynk.control.fault("jobs/get", "status", **AWAY)
    export = make_export(
        sessions, state=State.EXPORTING, job_id="j", due_at=clock.time, begun_at=clock.time
    )
    pass_time([kit], clock, uplynk, hours=1.2, every=20)
    with sessions.begin() as session:
        after = session.get_one(Export, export.id)
    assert (after.state, after.error_code) == (State.FAILED, "uplynk_unavailable")
    assert "it was tried for 1 hours" in (after.error_message or "")


@repeats
def test_an_outage_uses_up_no_time_of_a_job(
    sessions: Sessions, tmp_path: Path, uplynk: Emulator
) -> None:
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=uplynk, now=clock, export_deadline_hours=2.0)
    export = make_export(sessions, state=State.REQUESTED, due_at=clock.time)
    uplynk.control.asset(export.asset, run_seconds=3 * 3600)
    submit(kit)
    uplynk.control.fault("*", "status", **AWAY)
    pass_time([kit], clock, uplynk, hours=1.5, every=120)
    uplynk.control.clear_faults()
    pass_time([kit], clock, uplynk, hours=1.2, every=120)
    assert states(sessions) == {State.EXPORTING}
    pass_time([kit], clock, uplynk, hours=0.5, every=120)
    assert states(sessions) == {State.DOWNLOADING}


def test_calls_that_were_under_way_as_it_opened_put_off_no_probe(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    kit, other = (make_kit(sessions, tmp_path, now=clock) for _ in range(2))
    away = Transient("uplynk_unreachable", "no connection")
    under_way = [kit.circuit.watching() for _ in range(3 * TRIPS_AT - 1)]
    under_way.append(other.circuit.watching())
    for call in under_way:
        call.__enter__()
    clock.move(seconds=30)
    for call in under_way:
        clock.move(seconds=1)
        call.__exit__(Transient, away, None)
    seen = breaker(sessions)
    assert seen.opened_at == clock.time - timedelta(seconds=2 * TRIPS_AT)
    assert (seen.probes, seen.probe_at) == (0, seen.opened_at + PROBE_FIRST)
    assert other.circuit.is_open  # it knows by its own call
    with pytest.raises(Transient), kit.circuit.watching():
        raise away
    assert breaker(sessions).probes == 1
