"""Story: how long an export was in each state, and what it waits for."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from models import History, Request, State
from models.pause import EVERYBODY
from tests.factories import build_export
from worker import story

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def row(state: State, minutes_ago: float, reason: str = "") -> History:
    return History(at=NOW - timedelta(minutes=minutes_ago), to_state=state, reason=reason)


def waits(state: State, *, paused: tuple[str, ...] = (), **members: Any) -> str | None:
    export = build_export(state=state, attempts=0, **{"due_at": NOW, "requester": "", **members})
    return story.waiting(export, paused, NOW)


def test_each_state_took_its_time() -> None:
    request = Request(id="x", export=build_export(state=State.STORED, due_at=None))
    history = [
        row(State.REQUESTED, 60),
        row(State.EXPORTING, 59),
        row(State.DOWNLOADING, 30),
        row(State.EXPORTING, 29),
        row(State.STORED, 9),
    ]
    told = story.told(request, history, paused=(), now=NOW)
    assert told.spent == {
        State.EXPORTING: timedelta(minutes=49),
        State.REQUESTED: timedelta(minutes=1),
        State.DOWNLOADING: timedelta(minutes=1),
    }
    assert (told.lasted, told.waits_for) == (timedelta(minutes=51), None)
    text = "\n".join(story.lines(told, width=80))
    assert "took  51 min 0 s: exporting 49 min 0 s, requested 1 min 0 s" in text


def test_what_goes_on_has_taken_its_time_so_far() -> None:
    request = Request(id="x", export=build_export(state=State.REQUESTED, attempts=0))
    told = story.told(request, [row(State.REQUESTED, 2, "why " * 30)], paused=(), now=NOW)
    assert told.lasted == timedelta(minutes=2)
    lines = list(story.lines(told, width=80))
    assert any("2 min 0 s so far" in line for line in lines)
    assert all(len(line) <= 80 for line in lines[lines.index("") :])
    assert len(max(story.lines(told, width=None), key=len)) > 80


def test_an_error_is_told_with_its_remedy() -> None:
    export = build_export(state=State.FAILED, due_at=None)
    export.error_code, export.error_message = "storage_unavailable", "\x1b[31mred"
    told = story.told(Request(id="x", export=export), [], paused=(), now=NOW)
    lines = [line.strip() for line in story.lines(told, width=80)]
    assert "error  storage_unavailable: \ufffd[31mred" in lines
    assert "to do  mend it; `uplynk-export doctor`" in lines


@pytest.mark.parametrize("paused", [EVERYBODY, "spring"])
def test_what_is_paused_waits_for_resume(paused: str) -> None:
    said = waits(State.REQUESTED, requester="spring", paused=(paused,))
    assert said == "`uplynk-export resume`: it is paused"
    assert waits(State.REQUESTED, paused=("autumn",)) != said


@pytest.mark.parametrize(
    ("state", "members", "said"),
    [
        (State.STORED, {"due_at": None}, None),
        (State.REQUESTED, {}, "its turn, and for room in the window (MAX_EXPORTING)"),
        (State.DOWNLOADING, {}, "a worker that is free to bring its file"),
        (
            State.EXPORTING,
            {"due_at": NOW + timedelta(seconds=30)},
            "Uplynk to finish its job; the next look is in 30 s",
        ),
        (
            State.EXPORTING,
            {"due_at": NOW - timedelta(hours=2)},
            "a worker: its step has been due for 2 h 0 min",
        ),
        (
            State.DOWNLOADING,
            {"claim": uuid4(), "claimed_until": NOW + timedelta(seconds=60)}
            | {"due_at": NOW + timedelta(seconds=60)},
            "a worker that is at it; should it die, another takes over in 1 min 0 s",
        ),
        (
            State.DOWNLOADING,
            {"due_at": NOW + timedelta(seconds=9), "failing_since": NOW - timedelta(hours=1)}
            | {"attempts": 3},
            "its next try in 9 s, after 3 failures in a row in 1 h 0 min",
        ),
        (
            State.EXPORTING,
            {"unwanted_since": NOW},
            "its job to be stopped: no request wants it any more",
        ),
    ],
)
def test_what_an_export_waits_for(state: State, members: dict[str, Any], said: str | None) -> None:
    export = build_export(state=state, **{"attempts": 0, "requester": "", "due_at": NOW, **members})
    assert story.waiting(export, (), NOW) == said
