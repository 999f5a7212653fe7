"""Ledger: what is counted in a step, for its task's result."""

from datetime import UTC, datetime, timedelta

from models import State
from tests.factories import build_export
from worker.errors import Permanent, Transient
from worker.steps import ledger

NOW = datetime.now(UTC)


def test_a_failure_counts_once_however_often_it_is_set_down() -> None:
    late = build_export(state=State.DOWNLOADING, due_at=NOW + timedelta(minutes=1))
    soon = build_export(state=State.DOWNLOADING, due_at=NOW)
    ended = build_export(state=State.FAILED, due_at=None)
    with ledger.counted() as counts:
        ledger.current().calls += 2
        for export in (late, late, soon):
            ledger.current().failure(export, Transient("a", "b"))
        ledger.current().failure(ended, Permanent("c", "d"))
    assert counts.facts() == {"calls": 2, "again": 2, "given_up": 1}


def test_who_reads_of_the_next_try_reads_why_that_one_failed() -> None:
    late = build_export(state=State.DOWNLOADING, due_at=NOW + timedelta(minutes=1))
    soon = build_export(state=State.DOWNLOADING, due_at=NOW)
    ended = build_export(state=State.FAILED, due_at=None)
    with ledger.counted() as counts:
        assert counts.foremost is None
        ledger.current().failure(ended, first := Permanent("first", ""))
        assert counts.foremost == (first, None)
        ledger.current().failure(late, later := Transient("later", ""))
        assert counts.foremost == (later, late.due_at)
        ledger.current().failure(soon, sooner := Transient("sooner", ""))
        ledger.current().failure(ended, Permanent("last", ""))
        assert counts.foremost == (sooner, NOW)


def test_where_nothing_is_tried_again_the_last_failure_is_told() -> None:
    with ledger.counted() as counts:
        for error in (Permanent("first", ""), last := Permanent("last", "")):
            ledger.current().failure(build_export(state=State.FAILED, due_at=None), error)
    assert counts.foremost == (last, None)


def test_what_nobody_asked_for_is_counted_nowhere() -> None:
    ledger.current().calls += 1
    with ledger.counted() as counts:
        pass
    assert (counts.facts(), counts.foremost, ledger.current().calls) == ({}, None, 0)
