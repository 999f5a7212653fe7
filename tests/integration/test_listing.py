"""Listing: what is looked for is found, page by page, whatever is added meanwhile."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from rich.cells import cell_len
from rich.text import Text
from sqlalchemy.orm import Session, sessionmaker

from models import Batch, Request, State, admission, listing
from models.listing import Listed, Sort, Wanted
from tests.factories import ACCOUNT, make_export
from tests.typed import typed
from tests.waiting import wait_until
from worker import tables
from worker.cli.status import Status

Sessions = sessionmaker[Session]
NOW = datetime.now(UTC).replace(microsecond=0)


def add(sessions: Sessions, name: str, minutes_ago: float, **members: Any) -> None:
    with sessions.begin() as session:
        at = NOW - timedelta(minutes=minutes_ago)
        session.add(Request(id=name, created_at=at, **members))


def add_exported(
    sessions: Sessions, name: str, minutes_ago: float, state: State, **members: Any
) -> None:
    """Add a request, whose export came into its state half that time ago."""
    ours = {key: members.pop(key) for key in ("requester", "batch") if key in members}
    since = NOW - timedelta(minutes=minutes_ago / 2)
    due = NOW if state in {State.REQUESTED, State.EXPORTING, State.DOWNLOADING} else None
    export = make_export(sessions, state=state, state_since=since, due_at=due, **members)
    add(sessions, name, minutes_ago, export_id=export.id, asset=export.asset, **ours)


def found(sessions: Sessions, **wanted: Any) -> list[str]:
    with sessions.begin() as session:
        return [row.request.id for row in listing.listed(session, Wanted(**wanted))]


@pytest.fixture
def filled(sessions: Sessions) -> Sessions:
    """Give a database with some of each kind."""
    with sessions.begin() as session:
        session.add(Batch(name="spring", account=ACCOUNT, created_at=NOW))
    add_exported(sessions, "stored", 10, State.STORED, asset="a" * 32, requester="news")
    add_exported(sessions, "others", 400, State.STORED, account="f" * 32)
    add_exported(sessions, "asked", 20, State.REQUESTED, batch="spring")
    add_exported(sessions, "going", 30, State.EXPORTING, batch="spring", requester="news")
    add_exported(sessions, "failed", 200, State.FAILED, error_code="job_lost", batch="spring")
    add_exported(sessions, "gone", 50, State.CANCELLED, error_code="cancelled")
    add(sessions, "refused", 60, error_code="invalid_request", error_message="no")
    add(sessions, "withdrawn", 300, cancelled_at=NOW - timedelta(minutes=1), asset="a" * 32)
    return sessions


ALL = ["stored", "asked", "going", "gone", "refused", "failed", "withdrawn", "others"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, ALL),
        ({"oldest_first": True}, ALL[::-1]),
        ({"limit": 2}, ALL[:2]),
        (
            {"sort": Sort.CHANGED},
            ["withdrawn", "stored", "asked", "going", "gone", "refused", "failed", "others"],
        ),
        ({"state": State.STORED, "sort": Sort.CHANGED}, ["stored", "others"]),
        ({"state": State.STORED}, ["stored", "others"]),
        ({"state": State.FAILED}, ["refused", "failed"]),
        ({"state": State.CANCELLED, "sort": Sort.CHANGED}, ["withdrawn", "gone"]),
        ({"state": State.CANCELLED}, ["gone", "withdrawn"]),
        ({"state": State.EXPORTING, "batch": "spring"}, ["going"]),
        ({"code": "job_lost", "sort": Sort.CHANGED}, ["failed"]),
        ({"code": "job_lost", "state": State.CANCELLED}, []),
        ({"code": "invalid_request"}, ["refused"]),
        ({"asset": "a" * 32}, ["stored", "withdrawn"]),
        ({"asset": "a" * 32, "state": State.STORED}, ["stored"]),
        ({"requester": "news"}, ["stored", "going"]),
        ({"batch": "spring", "oldest_first": True}, ["failed", "going", "asked"]),
        ({"since": NOW - timedelta(minutes=30)}, ["stored", "asked", "going"]),
        ({"until": NOW - timedelta(minutes=200)}, ["withdrawn", "others"]),
        (
            {"sort": Sort.CHANGED, "since": NOW - timedelta(minutes=5)},
            ["withdrawn", "stored"],
        ),
    ],
)
def test_what_is_looked_for_is_found_in_its_order(
    filled: Sessions, wanted: dict[str, Any], names: list[str]
) -> None:
    assert found(filled, **wanted) == names


def pages(sessions: Sessions, **wanted: Any) -> Iterator[list[Listed]]:
    after = None
    while True:
        with sessions.begin() as session:
            rows = list(listing.listed(session, Wanted(after=after, limit=2, **wanted)))
        if not rows:
            return
        yield rows
        after = rows[-1].place


@pytest.mark.parametrize("sort", list(Sort))
@pytest.mark.parametrize("oldest_first", [False, True])
def test_pages_miss_nothing_and_repeat_nothing_while_rows_are_added(
    sessions: Sessions, sort: Sort, *, oldest_first: bool
) -> None:
    for number in range(5):  # all of the same moment, as a list's are
        add_exported(sessions, f"same-{number}", 10, State.STORED)
    add_exported(sessions, "older", 20, State.STORED)
    seen: list[str] = []
    for page, rows in enumerate(pages(sessions, sort=sort, oldest_first=oldest_first)):
        seen += [row.request.id for row in rows]
        if page < 2:
            minutes_ago = 40 if oldest_first else 0
            add_exported(sessions, f"added-{page}", minutes_ago, State.STORED)
    before = ["older", *(f"same-{number}" for number in range(5))]
    assert seen == (before if oldest_first else before[::-1])


@pytest.mark.parametrize("width", [80, 60, 120])
def test_a_table_fits_a_terminal_whatever_is_in_it(sessions: Sessions, width: int) -> None:
    wide = "記事-" + "日" * 100
    add_exported(sessions, wide, 1, State.FAILED, error_code="cancelled_at_uplynk")
    add(sessions, "x" * 155, 2, error_code="invalid_request", asset="[/b]\x1b[31m\n" + "語" * 90)
    add_exported(sessions, "6f1c2d3e-6a0b-4a58-9d7e-0d7f4b9a2c11", 3, State.DOWNLOADING)
    with sessions.begin() as session:
        rows = listing.listed(session, Wanted())
        cut = list(tables.listing(rows, Sort.CREATED, now=NOW, width=width))
        whole = "\n".join(tables.listing(rows, Sort.CREATED, now=NOW, width=None))
    assert len(cut) == 4
    assert all(cell_len(Text.from_markup(line).plain) <= width for line in cut)
    assert ("6f1c2d3e-6a0b-4a58-9d7e-0d7f4b9a2c11" in cut[3]) is (width >= 80)
    assert ("cancelled_at_uplynk" in cut[1]) is (width >= 80)
    assert wide in whole
    assert "x" * 155 in whole
    assert "\x1b" not in whole


def run(database_url: str, *arguments: str) -> Result:
    return typed(*arguments, DATABASE_URL=database_url)


@pytest.mark.usefixtures("filled")
def test_programs_are_given_json_and_the_next_page(database_url: str) -> None:
    seen: list[str] = []
    more: list[str] = []
    while True:
        told = run(database_url, "list", "--limit", "3", "--json", *more)
        assert told.exit_code == Status.DONE, told.output
        rows = [json.loads(line) for line in told.stdout.splitlines()]
        seen += [row["request_id"] for row in rows]
        if "There are more" not in told.stderr:
            break
        more = ["--after", rows[-1]["cursor"]]
        assert " ".join(more) in told.stderr
    assert seen == ALL
    nothing = run(database_url, "list", "--asset", "none", "--json")
    assert (nothing.exit_code, nothing.stdout) == (Status.DONE, "")
    since = (NOW - timedelta(minutes=61)).isoformat()
    failed = run(database_url, "list", "--state", "failed", "--since", since)
    assert failed.stdout.split()[:4] == ["SINCE", "STATE", "REQUEST", "ABOUT"]
    assert "\x1b" not in failed.stdout
    assert [line.split()[2] for line in failed.stdout.splitlines()[1:]] == ["refused"]


def test_a_story_is_told_to_programs(filled: Sessions, database_url: str) -> None:
    with filled.begin() as session:
        request = session.get(Request, "going")
        assert request is not None
        assert request.export is not None
        request.export.advance(State.DOWNLOADING, now=NOW, reason="Uplynk is done")
    told = json.loads(run(database_url, "show", "going", "--json").stdout)
    assert told["waits_for"] == "a worker that is free to bring its file"
    [change] = told["history"]
    assert (change["state"], change["reason"]) == ("downloading", "Uplynk is done")
    refused = run(database_url, "show", "refused")
    assert "error  invalid_request: no" in refused.stdout


ESCAPE = "\x1b]0;forged\x07\n"


@pytest.mark.parametrize(
    "command",
    [
        ("list", "--limit", "1"),
        ("show", ESCAPE),
        ("retry", ESCAPE),
        ("cancel", ESCAPE),
        ("resume",),
    ],
)
def test_a_terminal_is_moved_by_nothing_that_somebody_sent(
    sessions: Sessions, database_url: str, command: Sequence[str]
) -> None:
    add_exported(sessions, "another", 2, State.STORED)
    add_exported(sessions, ESCAPE, 1, State.EXPORTING)
    with sessions.begin() as session:
        admission.pause(session, account=ACCOUNT, requester=ESCAPE, now=NOW)
    told = typed(*command, DATABASE_URL=database_url, UPLYNK_USER_ID=ACCOUNT)
    assert "]0;forged" in told.output
    assert "\x1b" not in told.output
    assert "\x07" not in told.output
    assert any("]0;forged\ufffd\ufffd" in line for line in told.output.splitlines())


def test_what_became_of_a_run_moves_no_terminal_either(sessions: Sessions) -> None:
    add(sessions, ESCAPE, 1, error_code="export_error", error_message=ESCAPE)
    with sessions.begin() as session:
        [row] = listing.listed(session, Wanted())
        told = "\n".join(tables.outcomes([row.request]))
    assert told.count("]0;forged\ufffd\ufffd") == 2
    assert "\x1b" not in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "3y"),
        ("--until", "tomorrow"),
        ("--since", "0001-01-01T00:00+23:00"),
        ("--after", "nowhere"),
        ("--code", "no_such"),
        ("--sort", "size"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(database_url: str, arguments: tuple[str]) -> None:
    told = run(database_url, "list", *arguments)
    assert (told.exit_code, told.stdout) == (Status.USAGE, "")


@pytest.mark.usefixtures("filled")
def test_names_of_batches_are_offered(database_url: str) -> None:
    typed = {"COMP_WORDS": "uplynk-export manifest sp", "COMP_CWORD": "2"}
    told = subprocess.run(
        [sys.executable, "-m", "worker.cli"],
        env={
            **os.environ,
            **typed,
            "DATABASE_URL": database_url,
            "_UPLYNK_EXPORT_COMPLETE": "bash_complete",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stdout.split() == ["plain,spring"]


def is_interrupted(process: subprocess.Popen[str]) -> bool:
    """Press Ctrl-C, as a person does again who sees nothing come of it."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    return process.poll() is not None


def test_who_interrupts_a_command_is_told_so_by_its_status(database_url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "watch", "--json"],
        env={**os.environ, "DATABASE_URL": database_url, "UPLYNK_USER_ID": ACCOUNT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["window"] == 0
        wait_until(lambda: is_interrupted(process), seconds=60, what="its end")
        _, said = process.communicate()
    assert (process.returncode, said) == (Status.INTERRUPTED, "")
