"""Metrics: what SQL knows is told as it is, or that it can't be told; nobody is kept waiting."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any
from uuid import uuid4

import pytest
import requests
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

import migrations
from models import Breaker, Channel, History, Notification, Request, State, admission
from models.database import for_reading, open_sessions
from models.pause import EVERYBODY
from tests.engines import opened
from tests.factories import ACCOUNT, KEY, Clock, make_export, make_settings
from tests.scraping import Scraped, scraped, told
from tests.services import free_port
from tests.waiting import wait_until
from worker.cli.metrics import impatient
from worker.metrics import endpoint
from worker.metrics.endpoint import serve
from worker.metrics.families import MOST_CODES
from worker.metrics.fleet import Fleet
from worker.metrics.look import Look, Looker
from worker.metrics.own import Own
from worker.tally import Tally

Sessions = sessionmaker[Session]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ago(**since: float) -> datetime:
    return NOW - timedelta(**since)


@pytest.fixture
def looker(sessions: Sessions, tmp_path: Path) -> Looker:
    """Give what looks at the database; the time is NOW."""
    return Looker(sessions, make_settings(tmp_path, max_exporting=50), now=lambda: NOW)


def seen(look: Looker) -> Scraped:
    return told(Fleet(look))


def test_where_nothing_is_everything_is_told_and_well(looker: Looker) -> None:
    empty = seen(looker)
    assert empty.value("database_up") == 1
    for state in State:
        assert empty.value("exports", state=state) == 0
    assert empty.by("overdue_seconds", "state") == empty.by("oldest_seconds", "state") == {}
    assert empty.value("margin_seconds") == 72 * 3600
    assert empty.value("window_taken") == empty.value("circuit_open") == empty.value("paused") == 0
    assert empty.value("window_size") == 20  # nothing is known of the rate
    assert empty.value("window_most") == 50
    assert empty.value("notifications_pending") == empty.value("notifications_dead") == 0


def add_under_way(sessions: Sessions) -> None:
    for minutes in (3, 90):
        make_export(
            sessions, state=State.REQUESTED, state_since=ago(minutes=minutes), due_at=ago(minutes=2)
        )
    make_export(sessions, state=State.SUBMITTING, state_since=ago(seconds=5), due_at=ago(seconds=4))
    make_export(
        sessions,
        state=State.EXPORTING,
        state_since=ago(hours=2),
        due_at=ago(hours=-1),
        attempts=3,
    )
    for hours, claim in ((71, None), (2, uuid4()), (1, uuid4())):
        until = ago(minutes=-1) if claim else ago(minutes=30)
        make_export(
            sessions,
            state=State.DOWNLOADING,
            state_since=ago(hours=hours),
            done_at=ago(hours=hours),
            due_at=until,
            claim=claim,
            claimed_until=until if claim else None,
            bytes_per_second=1e6,
        )
    make_export(sessions, state=State.EXPORTING, account="f" * 32, due_at=ago(days=1))


def test_what_is_under_way_is_told_by_state(looker: Looker, sessions: Sessions) -> None:
    add_under_way(sessions)
    look = seen(looker)
    assert look.by("exports", "state") == {
        "requested": 2,
        "submitting": 1,
        "exporting": 1,
        "downloading": 3,
    }
    assert look.by("oldest_seconds", "state") == {
        "requested": 5400,
        "submitting": 5,
        "exporting": 7200,
        "downloading": 71 * 3600,
    }
    assert look.by("overdue_seconds", "state") == {
        "requested": 120,
        "submitting": 4,
        "downloading": 1800,
    }
    assert look.by("retrying_exports", "state") == {"exporting": 1}
    assert look.value("margin_seconds") == 3600
    assert look.value("downloads_running") == 2
    assert look.value("downloads_bytes_per_second") == 2e6
    assert look.value("window_taken") == 2
    assert look.value("window_size") == 17  # three wait to be brought


def ended(sessions: Sessions, state: State, minutes: float, **members: Any) -> None:
    since = ago(minutes=minutes)
    export = make_export(sessions, state=state, state_since=since, due_at=None, **members)
    with sessions.begin() as session:
        for target, seconds in ((State.REQUESTED, 100), (State.EXPORTING, 60), (state, 0)):
            at = since - timedelta(seconds=seconds * (1 + minutes))
            session.add(History(export_id=export.id, at=at, to_state=target, reason=""))


def test_what_has_ended_is_told_of_the_last_hour_and_of_all(
    looker: Looker, sessions: Sessions
) -> None:
    for minutes in (0, 9, 59):
        ended(sessions, State.STORED, minutes, size_bytes=10_000_000_000)
    ended(sessions, State.STORED, 61, size_bytes=5)
    for code, minutes in (("job_lost", 3), ("job_lost", 4), ("export_error", 5), ("old", 61)):
        ended(sessions, State.FAILED, minutes, error_code=code)
    ended(sessions, State.CANCELLED, 5, error_code="cancelled")
    look = seen(looker)
    assert look.by("exports", "state") == {"stored": 4, "failed": 4, "cancelled": 1}
    assert look.value("stored_last_hour") == 3
    assert look.value("stored_last_hour_bytes") == 30_000_000_000
    assert look.by("failed_last_hour", "code") == {"job_lost": 2, "export_error": 1}
    assert look.by("spent_seconds", "state", "quantile") == {
        "requested 0.5": 400,
        "requested 0.9": 2400,
        "requested 1": 2400,
        "exporting 0.5": 600,
        "exporting 0.9": 3600,
        "exporting 1": 3600,
    }


def test_of_very_many_codes_the_rarest_are_told_together(
    looker: Looker, sessions: Sessions
) -> None:
    for number in range(MOST_CODES + 3):
        ended(sessions, State.FAILED, 1, error_code=f"code_{number:02}")
    ended(sessions, State.FAILED, 1, error_code=f"code_{MOST_CODES + 2}")
    failed = seen(looker).by("failed_last_hour", "code")
    assert len(failed) == MOST_CODES + 1
    assert failed["other"] == 3
    assert failed[f"code_{MOST_CODES + 2}"] == 2


def test_what_holds_everything_up_is_told(looker: Looker, sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.add(Breaker(name=f"uplynk:{ACCOUNT}", opened_at=ago(minutes=1)))
        admission.pause(session, account=ACCOUNT, requester="archive", now=NOW)
    look = seen(looker)
    assert look.value("circuit_open") == 1
    assert (look.value("paused"), look.value("paused_requesters")) == (0, 1)
    with sessions.begin() as session:
        admission.pause(session, account=ACCOUNT, requester=EVERYBODY, now=NOW)
    look = seen(looker)
    assert (look.value("paused"), look.value("paused_requesters")) == (1, 2)


def test_what_is_paused_is_not_overdue(looker: Looker, sessions: Sessions) -> None:
    for requester, state in (("archive", State.REQUESTED), ("archive", State.EXPORTING)):
        make_export(sessions, state=state, requester=requester, due_at=ago(hours=3))
    with sessions.begin() as session:
        admission.pause(session, account=ACCOUNT, requester="archive", now=NOW)
    look = seen(looker)
    assert look.by("overdue_seconds", "state") == {"exporting": 10800}
    assert look.by("exports", "state") == {"requested": 1, "exporting": 1}
    make_export(sessions, state=State.REQUESTED, requester="sports", due_at=ago(hours=1))
    look = seen(looker)
    assert look.by("overdue_seconds", "state") == {"requested": 3600, "exporting": 10800}


def test_what_is_to_be_told_to_somebody_is_told(looker: Looker, sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.add_all(Request(id=name, created_at=NOW) for name in "abcd")
        session.flush()
        for name, hours, due_at, dead_at in (
            ("a", 2, ago(hours=-1), None),
            ("a", 1, ago(minutes=5), None),  # waits for the one before it
            ("b", 1, ago(seconds=30), None),
            ("c", 9, None, ago(hours=5)),
            ("d", 9, None, None),
        ):
            session.add(
                Notification(
                    request_id=name,
                    channel=Channel.WEBHOOK,
                    type="export.stored",
                    payload={},
                    created_at=ago(hours=hours),
                    due_at=due_at,
                    dead_at=dead_at,
                )
            )
    look = seen(looker)
    assert look.value("notifications_pending") == 3
    assert look.value("notifications_oldest_seconds") == 7200
    assert look.value("notifications_overdue_seconds") == 30
    assert look.value("notifications_dead") == 1


def test_those_that_have_ended_are_counted_once_a_minute(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    look = Looker(sessions, make_settings(tmp_path), now=clock)
    assert look().ended[State.STORED] == 0
    make_export(sessions, state=State.STORED, due_at=None)
    assert look().ended[State.STORED] == 0
    clock.move(minutes=1)
    assert look().ended[State.STORED] == 1


def test_where_those_that_have_ended_are_too_many_to_count_all_else_is_told(
    sessions: Sessions, tmp_path: Path
) -> None:
    make_export(sessions, state=State.STORED, due_at=None)
    make_export(sessions, state=State.EXPORTING)
    clock, engine, tried = Clock(), sessions.kw["bind"], list[str]()

    def cancel(*arguments: Any) -> None:
        if "(SELECT count(*)" in (statement := arguments[2]):
            tried.append(statement)
            reason = Exception("canceling statement due to statement timeout")
            raise OperationalError(statement, {}, reason)

    look = Looker(sessions, make_settings(tmp_path), now=clock)
    event.listen(engine, "before_cursor_execute", cancel)
    try:
        for _ in range(2):
            told_now = seen(look)
            assert told_now.value("database_up") == 1
            assert told_now.by("exports", "state") == {"exporting": 1}
        assert len(tried) == 1, "or each scrape waited for it"
    finally:
        event.remove(engine, "before_cursor_execute", cancel)
    clock.move(minutes=1)
    assert look().ended[State.STORED] == 1


@contextmanager
def looking(url: str, tmp_path: Path) -> Iterator[Looker]:
    with opened(url) as engine:
        yield Looker(open_sessions(for_reading(engine)), make_settings(tmp_path), now=lambda: NOW)


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
def test_of_a_database_that_is_away_nothing_is_told_but_that(backend: str, tmp_path: Path) -> None:
    urls = {
        "postgresql": impatient(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"),
        "sqlite": f"sqlite:///{tmp_path}/no.db",  # there is a file then, and no table in it
    }
    with looking(urls[backend], tmp_path) as look:
        away = told(Fleet(look))
    assert away.names == {"uplynk_export_database_up"}
    assert away.value("database_up") == 0


def test_when_the_database_is_back_so_are_the_numbers(looker: Looker, tmp_path: Path) -> None:
    with looking(f"sqlite:///{tmp_path}/no.db", tmp_path) as away:
        looks = [looker, away]

        def look() -> Look:
            return looks.pop()()

        fleet = Fleet(look, fresh_seconds=0)
        assert told(fleet).value("database_up") == 0
        assert told(fleet).value("exports", state="stored") == 0


def test_an_impatient_url_says_so_to_the_database() -> None:
    url = impatient("postgresql://u:p@h/d?options=-c%20search_path%3Dx&application_name=y")
    assert "connect_timeout=3" in url
    assert "application_name=y" in url
    assert url.count("search_path") == url.count("statement_timeout") == 1
    assert "u:p@h" in url
    assert impatient("sqlite:///x.db") == "sqlite:///x.db"


def test_however_many_ask_at_once_one_look_is_taken(looker: Looker) -> None:
    taken, scrapes, together = [], [], Barrier(5)

    def look() -> Look:
        taken.append(1)
        return looker()

    fleet = Fleet(look, fresh_seconds=60)

    def scrape() -> None:
        together.wait()
        scrapes.append(told(fleet).value("database_up"))

    threads = [Thread(target=scrape) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (scrapes, taken) == ([1.0] * 5, [1])


def test_a_database_that_hangs_is_not_waited_for_and_not_asked_again(looker: Looker) -> None:
    taken, answered = [], Event()

    def look() -> Look:
        taken.append(1)
        answered.wait(30)
        return looker()

    fleet = Fleet(look, fresh_seconds=0, answer_seconds=0.05)
    for _ in range(3):
        assert told(fleet).value("database_up") == 0
    assert taken == [1]
    answered.set()
    patient = Fleet(looker)
    wait_until(lambda: told(fleet).value("database_up"), what="the numbers")
    wait_until(lambda: told(patient).names == told(fleet).names, what="the same for both")


def test_who_looks_waits_for_no_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/own.db"
    migrations.upgrade(url)
    with closing(sqlite3.connect(tmp_path / "own.db", timeout=0)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with looking(url, tmp_path) as look:
            assert look().stored == 0


@contextmanager
def served(looker: Looker) -> Iterator[str]:
    open_endpoint = serve(Fleet(looker), host="127.0.0.1", port=0)
    try:
        yield open_endpoint.url
    finally:
        open_endpoint.close()


def test_it_is_served_where_it_was_told_to_be_and_there_only(looker: Looker) -> None:
    with served(looker) as url:
        assert url.startswith("http://127.0.0.1:")
        assert scraped(url).value("database_up") == 1
        with pytest.raises(requests.ConnectionError):  # every other address of this machine's
            scraped(url.replace("127.0.0.1", "127.0.0.2"))
    with pytest.raises(requests.ConnectionError):
        scraped(url)


def test_a_port_that_is_anothers_is_an_error(looker: Looker) -> None:
    with served(looker) as url, pytest.raises(OSError, match="in use"):
        serve(Fleet(looker), host="127.0.0.1", port=int(url.split(":")[2].split("/")[0]))


FORKS = """
import os, signal
from prometheus_client.registry import Collector
from worker.metrics.endpoint import serve
class Nothing(Collector):
    def collect(self):
        return []
first = serve(Nothing(), host="127.0.0.1", port=0)
port = int(first.url.split(":")[2].split("/")[0])
here, there = os.pipe()
if not (child := os.fork()):
    os.write(there, b"forked")
    signal.pause()
os.read(here, 6)  # by now it has closed what it doesn't keep
first.close()
try:
    serve(Nothing(), host="127.0.0.1", port=port).close()
finally:
    os.kill(child, signal.SIGKILL)
print("free")
"""


def test_a_child_that_was_forked_does_not_keep_the_port() -> None:
    root = Path(endpoint.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        cwd=root,
        env={**os.environ, "UPLYNK_USER_ID": ACCOUNT, "UPLYNK_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "free\n", done.stderr


def test_a_worker_tells_of_itself_and_of_its_disk(tmp_path: Path) -> None:
    tally = Tally()
    tally.called("jobs/get", "ok", 0.2)
    tally.came(5)
    settings = make_settings(tmp_path, scratch_reserve_bytes=7, scratch_dir=tmp_path / "a/b")
    own = told(Own(tally, settings, ["downloads", "exports"]))
    assert own.by("worker_serves", "queue") == {"downloads": 1, "exports": 1}
    assert own.by("calls_total", "call", "outcome") == {"jobs/get ok": 1}
    assert own.value("call_seconds_bucket", call="jobs/get", le="0.1") == 0
    assert own.value("call_seconds_bucket", call="jobs/get", le="0.25") == 1
    assert own.value("call_seconds_bucket", call="jobs/get", le="+Inf") == 1
    assert own.value("call_seconds_sum", call="jobs/get") == 0.2
    assert own.value("call_seconds_count", call="jobs/list") == 0
    assert own.value("downloaded_bytes_total") == 5
    assert own.value("scratch_reserve_bytes") == 7
    assert own.value("scratch_free_bytes") > 0
