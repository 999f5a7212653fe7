"""States: the table of transitions is the table that was agreed on, and is kept to."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm.attributes import get_history

from models import Audio, Export, History, State
from models.state import TERMINAL, TRANSITIONS, UNDER_WAY, TransitionError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

# Row: from. Column: to, in the order of the states. 1: there is a way.
ALLOWED = """
             requested submitting exporting downloading stored failed cancelled
requested            .          1         .           .      .      1         1
submitting           1          .         1           .      .      1         1
exporting            .          .         .           1      .      1         1
downloading          .          .         1           .      1      1         1
stored               .          .         .           .      .      .         .
failed               1          1         1           1      .      .         .
cancelled            1          1         1           1      .      .         .
"""


def pairs() -> list[tuple[State, State, bool]]:
    """Read the table above: from, to, whether there is a way."""
    heading, *rows = ALLOWED.strip().splitlines()
    return [
        (State(source), State(target), cell == "1")
        for source, *cells in map(str.split, rows)
        for target, cell in zip(heading.split(), cells, strict=True)
    ]


def an_export(state: State) -> Export:
    """Return an export in `state` as far as the states go; it is in no database."""
    return Export(state=state, state_since=NOW, due_at=None if state in TERMINAL else NOW)


def told(export: Export) -> list[History]:
    """Return the rows of history that were added to an export in no database."""
    return list(get_history(export, "history").added)


def test_every_pair_of_states_is_in_the_table() -> None:
    assert {(source, target) for source, target, _ in pairs()} == {
        (source, target) for source in State for target in State
    }


@pytest.mark.parametrize(("source", "target", "allowed"), pairs())
def test_the_table_says_which_way_leads_on(source: State, target: State, *, allowed: bool) -> None:
    export = an_export(source)
    if allowed:
        export.advance(target, now=NOW, reason="it is time")
        assert export.state is target
        return
    with pytest.raises(TransitionError, match=f"no way leads from {source} to {target}"):
        export.advance(target, now=NOW, reason="it is time")
    assert export.state is source
    assert told(export) == []


def test_each_state_is_under_way_or_has_ended() -> None:
    assert set(State) == UNDER_WAY | TERMINAL
    assert not UNDER_WAY & TERMINAL
    assert all(TRANSITIONS[state] <= UNDER_WAY for state in TERMINAL)
    assert not TRANSITIONS[State.STORED]


def test_every_state_can_be_reached_and_all_under_way_can_end() -> None:
    assert {State.REQUESTED}.union(*TRANSITIONS.values()) == set(State)
    assert all({State.FAILED, State.CANCELLED} <= TRANSITIONS[state] for state in UNDER_WAY)


def test_only_a_verified_file_is_stored() -> None:
    assert [state for state in State if State.STORED in TRANSITIONS[state]] == [State.DOWNLOADING]


@given(st.data())
def test_the_history_of_any_export_is_a_path_of_the_table(data: st.DataObject) -> None:
    now = NOW
    export = Export.requested(account="a", asset="b", audio=Audio.HE_AAC, priority=0, now=now)
    for _ in range(data.draw(st.integers(0, 30), "moves")):
        ways = sorted(TRANSITIONS[export.state])
        if not ways:
            break
        now += timedelta(seconds=data.draw(st.integers(0, 60), "seconds"))
        keep = data.draw(st.booleans(), "keep_claim")
        export.advance(data.draw(st.sampled_from(ways)), now=now, reason="next", keep_claim=keep)
    rows = told(export)
    assert (rows[0].from_state, rows[0].to_state) == (None, State.REQUESTED)
    assert rows[-1].to_state is export.state
    assert rows[-1].at == export.state_since
    for before, after in pairwise(rows):
        assert after.from_state is before.to_state
        assert after.to_state in TRANSITIONS[before.to_state]
        assert after.at >= before.at
    assert (export.due_at is None) == (export.state in TERMINAL)
    if export.state in TERMINAL:
        assert export.claim is None
