"""Export: what a change of state, a failure and a recovery do to the row."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy.orm.attributes import get_history

from models import Audio, Export, History, State
from models.state import TERMINAL, TRANSITIONS, UNDER_WAY, TransitionError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)

ENDINGS = [(source, target) for source in UNDER_WAY for target in TRANSITIONS[source] & TERMINAL]


def a_claimed_export(state: State) -> Export:
    """Return an export in `state`, claimed until LATER; it is in no database."""
    return Export(
        state=state, attempts=0, claim=uuid4(), claimed_until=LATER, due_at=LATER, state_since=NOW
    )


def told(export: Export) -> list[History]:
    """Return the rows of history that were added to an export in no database."""
    return list(get_history(export, "history").added)


def test_a_new_export_is_requested_and_due_at_once() -> None:
    export = Export.requested(
        account="account", asset="asset", audio=Audio.AAC_LC, priority=3, now=NOW
    )
    assert (export.state, export.state_since) == (State.REQUESTED, NOW)
    assert (export.created_at, export.due_at, export.claim) == (NOW, NOW, None)
    assert (export.account, export.asset, export.audio) == ("account", "asset", Audio.AAC_LC)
    assert export.priority == 3
    [row] = told(export)
    assert (row.from_state, row.to_state, row.at) == (None, State.REQUESTED, NOW)


def test_a_change_of_state_leaves_a_row_of_history() -> None:
    export = a_claimed_export(State.EXPORTING)
    export.advance(State.DOWNLOADING, now=NOW, reason="Uplynk is done")
    [row] = told(export)
    assert (row.from_state, row.to_state) == (State.EXPORTING, State.DOWNLOADING)
    assert (row.at, row.reason) == (NOW, "Uplynk is done")
    assert export.state_since == NOW


def test_a_change_of_state_gives_the_claim_back() -> None:
    export = a_claimed_export(State.EXPORTING)
    export.advance(State.DOWNLOADING, now=NOW, reason="Uplynk is done")
    assert (export.claim, export.claimed_until, export.due_at) == (None, None, NOW)


def test_the_change_of_state_that_begins_a_step_keeps_the_claim() -> None:
    export = a_claimed_export(State.REQUESTED)
    claim = export.claim
    export.advance(State.SUBMITTING, now=NOW, reason="about to ask", keep_claim=True)
    assert (export.claim, export.claimed_until, export.due_at) == (claim, LATER, LATER)


@pytest.mark.parametrize("keep_claim", [False, True])
@pytest.mark.parametrize(("source", "target"), sorted(ENDINGS))
def test_an_export_that_has_ended_is_never_due_nor_claimed(
    source: State, target: State, *, keep_claim: bool
) -> None:
    export = a_claimed_export(source)
    export.advance(target, now=NOW, reason="the end", keep_claim=keep_claim)
    assert (export.claim, export.claimed_until, export.due_at) == (None, None, None)


def test_a_failure_ends_the_export_with_a_code_and_a_sentence() -> None:
    export = a_claimed_export(State.DOWNLOADING)
    export.fail("file_damaged", "the file ends early", now=NOW)
    assert export.state is State.FAILED
    assert (export.error_code, export.error_message) == ("file_damaged", "the file ends early")
    [row] = told(export)
    assert row.reason == "file_damaged: the file ends early"


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_what_has_ended_can_not_fail(state: State) -> None:
    with pytest.raises(TransitionError):
        a_claimed_export(state).fail("late", "too late", now=NOW)


def test_failures_in_a_row_are_counted_since_the_first() -> None:
    export = a_claimed_export(State.DOWNLOADING)
    export.put_off(timedelta(seconds=2), now=NOW)
    assert (export.claim, export.due_at) == (None, NOW + timedelta(seconds=2))
    export.put_off(timedelta(seconds=4), now=LATER)
    assert (export.attempts, export.failing_since) == (2, NOW)
    assert export.due_at == LATER + timedelta(seconds=4)
    assert export.state is State.DOWNLOADING


def test_a_recovery_forgets_the_failures() -> None:
    export = a_claimed_export(State.EXPORTING)
    export.put_off(timedelta(seconds=2), now=NOW)
    export.recovered()
    assert (export.attempts, export.failing_since) == (0, None)
    assert export.due_at == NOW + timedelta(seconds=2)


def test_a_claim_that_is_given_back_makes_the_export_due_when_it_is_said() -> None:
    export = a_claimed_export(State.EXPORTING)
    export.release(due_at=NOW)
    assert (export.claim, export.claimed_until, export.due_at) == (None, None, NOW)
