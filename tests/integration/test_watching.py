"""Watching: a look tells what is under way, and at which rate."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from rich.console import Console
from sqlalchemy import QueuePool
from sqlalchemy.orm import Session, sessionmaker

from models import State, admission
from models.database import open_sessions
from models.pause import EVERYBODY
from tests.engines import opened
from tests.factories import ACCOUNT, make_export
from worker import watching

Sessions = sessionmaker[Session]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def look(sessions: Sessions) -> watching.Look:
    with sessions.begin() as session:
        return watching.look(session, ACCOUNT, now=NOW)


def shown(seen: watching.Look) -> str:
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        console.print(watching.picture(seen))
    return capture.get()


def test_where_nothing_is_there_is_nothing_to_wait_for(sessions: Sessions) -> None:
    seen = look(sessions)
    assert (seen.left, seen.window, seen.an_hour, seen.margin) == (0, 0, None, None)
    assert seen.time_left == timedelta()
    assert "failed" not in shown(seen)


def test_a_look_tells_what_is_under_way(sessions: Sessions) -> None:
    for state, number in ((State.REQUESTED, 5), (State.SUBMITTING, 1), (State.EXPORTING, 2)):
        for _ in range(number):
            make_export(sessions, state=state)
    claim: dict[str, Any] = {"claim": uuid4(), "claimed_until": NOW + timedelta(minutes=1)}
    died = {**claim, "claimed_until": NOW - timedelta(minutes=1)}
    holds: list[dict[str, Any]] = [{}, claim, died]
    for members in holds:
        make_export(
            sessions,
            state=State.DOWNLOADING,
            bytes_per_second=2e6,
            done_at=NOW - timedelta(hours=70 if members else 71),
            **members,
        )
    for minutes in (15, 30, 90):
        make_export(
            sessions,
            state=State.STORED,
            due_at=None,
            state_since=NOW - timedelta(minutes=minutes),
        )
    for code, minutes in (("export_error", 5), ("export_error", 6), ("job_lost", 5), ("x", 61)):
        make_export(
            sessions,
            state=State.FAILED,
            due_at=None,
            error_code=code,
            state_since=NOW - timedelta(minutes=minutes),
        )
    make_export(sessions, state=State.REQUESTED, account="f" * 32)
    with sessions.begin() as session:
        for requester in (EVERYBODY, "archive", "[/x] [bold]"):
            admission.pause(session, account=ACCOUNT, requester=requester, now=NOW)
    seen = look(sessions)
    assert (seen.left, seen.window) == (11, 3)
    assert seen.bringing == (1, 2e6)
    assert seen.an_hour == 4.0  # two in half an hour
    assert seen.time_left == timedelta(minutes=165)
    assert seen.margin == timedelta(hours=1)
    assert seen.failed == {"export_error": 2, "job_lost": 1}
    text = shown(seen)
    for said in (
        "5  wait to be asked for",
        "3  under way at Uplynk",
        "3  files to be brought, 1 of them now, at 2.0 MB/s",
        "2  stored in the last hour",
        "2 h 45 min  left",
        "1 h 0 min  until Uplynk erases",
        "2  failed in the last hour with export_error",
        "paused  everything",
        "paused  archive",
        "paused  [/x] [bold]",
    ):
        assert said in text
    values = json.loads(json.dumps(watching.as_values(seen)))
    assert values["states"] == {"requested": 5, "submitting": 1, "exporting": 2, "downloading": 3}
    assert (values["window"], values["seconds_left"]) == (3, 9900)
    assert values["seconds_until_a_job_is_erased"] == 3600


def test_nothing_is_open_while_somebody_is_at_a_look(database_url: str) -> None:
    with opened(database_url) as engine:
        looks = watching.looks(open_sessions(engine), ACCOUNT, now=lambda: NOW, interval=0)
        assert isinstance(engine.pool, QueuePool)
        for _ in range(2):
            assert next(looks).window == 0
            assert engine.pool.checkedout() == 0
