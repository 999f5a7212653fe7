"""The command line, as its users run it; its exit status says whether it did what was asked."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID

import pytest
from sqlalchemy import select

import migrations
from models import Notification, State
from tests.acceptance.stage import Desk, Stage
from tests.factories import ASSET
from tests.receiver import SECRET, receiving
from tests.waiting import wait_until


@contextmanager
def running(desk: Desk, *arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `uplynk-export …` in `folder` until the context ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", *arguments],
        env={**os.environ, **desk.environment, "PYTHONPATH": str(Path.cwd())},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_an_asset_that_is_none_is_a_usage_error(stage: Stage) -> None:
    for command in (["run", "nonsense", "--out", "out"], ["request", "nonsense"]):
        refused = stage.cli(*command)
        assert refused.returncode == 2
        assert "32 hex digits" in refused.stderr


def test_request_list_and_show_tell_the_story(stage: Stage) -> None:
    stage.start("threads")
    asked = stage.cli("request", ASSET, "--priority", "3", "--metadata", '{"a": 1}', "--wait")
    assert asked.returncode == 0, asked.stderr
    request_id = asked.stdout.strip()
    export = stage.stored(request_id)
    listed = stage.cli("list", "--state", "stored", "--json")
    (row,) = [json.loads(line) for line in listed.stdout.splitlines()]
    assert (row["request_id"], row["sha256"]) == (request_id, export.sha256)
    assert row["metadata"] == {"a": 1}
    assert request_id in stage.cli("list").stdout
    assert stage.cli("list", "--state", "failed", "--json").stdout == ""
    verified = stage.cli("verify")
    assert verified.returncode == 0, verified.stdout
    assert verified.stdout.endswith("1 read, 0 not as they were stored\n")
    with Path(unquote(urlsplit(str(export.storage_url)).path)).open("ab") as film:
        film.write(b"x")
    verified = stage.cli("verify", request_id)
    assert verified.returncode == 1
    assert "FAIL" in verified.stdout
    for name in (request_id, str(export.id)):
        told = stage.cli("show", name)
        assert told.returncode == 0
        for word in (*State, str(export.sha256), str(export.job_id)):
            if word not in (State.FAILED, State.CANCELLED):
                assert word in told.stdout


def test_what_looks_like_markup_is_shown_as_it_is(stage: Stage) -> None:
    stage.start("threads")
    request_id = stage.send(asset="[/x]")
    stage.ended(request_id)
    listed = stage.cli("list")
    assert listed.returncode == 0, listed.stderr
    assert "[/x]" in listed.stdout


def test_an_id_that_cannot_be_kept_is_a_usage_error(stage: Stage) -> None:
    refused = stage.cli("request", ASSET, "--id", "x" * 200)
    assert refused.returncode == 2
    assert "1 to 155 characters" in refused.stderr


def test_show_of_nothing_is_an_error(stage: Stage) -> None:
    told = stage.cli("show", "nothing")
    assert told.returncode == 1
    assert "there is no request or export nothing" in told.stderr


def test_request_with_wait_fails_when_the_export_does(stage: Stage) -> None:
    stage.emulator.control.asset(ASSET, missing=True)
    stage.start("threads")
    asked = stage.cli("request", ASSET, "--wait")
    assert asked.returncode == 1
    assert "failed: Uplynk refused" in asked.stderr


def test_doctor_finds_everything_well(stage: Stage) -> None:
    found = stage.cli("doctor")
    assert found.returncode == 0, found.stdout + found.stderr
    whats = ["settings", "database", "broker", "storage", "scratch", "uplynk", "clock", "webhooks"]
    assert [line.split()[:2] for line in found.stdout.splitlines()] == [
        ["ok", what] for what in whats
    ]


@pytest.mark.parametrize(
    ("setting", "value", "what", "says"),
    [
        ("DATABASE_URL", "sqlite:////proc/nowhere/x.db", "database", "check DATABASE_URL"),
        ("CELERY_BROKER_URL", "redis://127.0.0.1:1/0", "broker", "check CELERY_BROKER_URL"),
        ("STORAGE_URL", "file:///proc/nowhere", "storage", "STORAGE_URL"),
        ("SCRATCH_DIR", "/proc/nowhere", "scratch", "SCRATCH_DIR"),
        ("UPLYNK_API_KEY", "wrong-key", "uplynk", "check UPLYNK_USER_ID and UPLYNK_API_KEY"),
        ("UPLYNK_API_URL", "http://127.0.0.1:1", "uplynk", "no connection to Uplynk"),
    ],
)
def test_doctor_says_what_is_wrong_and_what_to_do(
    stage: Stage, setting: str, value: str, what: str, says: str
) -> None:
    found = stage.cli("doctor", **{setting: value})
    assert found.returncode == 1
    (line,) = [line for line in found.stdout.splitlines() if line.startswith("FAIL")]
    assert line.split()[1] == what
    assert says in line


def test_doctor_tells_a_database_without_tables_to_migrate_and_migrate_does(stage: Stage) -> None:
    database = {"DATABASE_URL": f"sqlite:///{stage.folder}/new.db"}
    found = stage.cli("doctor", **database)
    assert found.returncode == 1
    assert "has no tables; run `uplynk-export migrate`" in found.stdout
    migrated = stage.cli("migrate", **database)
    head = migrations.head()
    assert migrated.stdout == f"the database was at revision none, and is at {head}\n"
    found = stage.cli("doctor", "--json", **database)
    assert found.returncode == 0
    assert all(json.loads(line)["well"] for line in found.stdout.splitlines())


def test_the_embedded_broker_is_found_by_other_processes_of_the_folder(desk: Desk) -> None:
    folder = desk.folder / "here"
    folder.mkdir()
    with running(desk, "worker", folder=folder):
        wait_until((folder / "var" / "broker.url").exists, what="a broker")
        with running(desk, "request", ASSET, "--wait", folder=folder) as asking:
            assert asking.wait(60) == 0
    assert not (folder / "var" / "broker.url").exists()
    with running(desk, "request", ASSET, folder=folder) as asking:
        assert asking.wait(30) == 1
        assert asking.stdout is not None
        assert "No embedded broker is running in this folder" in asking.stdout.read()


def test_a_second_embedded_broker_in_a_folder_is_refused(desk: Desk) -> None:
    folder = desk.folder / "here"
    folder.mkdir()
    with running(desk, "worker", folder=folder):
        wait_until((folder / "var" / "broker.url").exists, what="a broker")
        with running(desk, "worker", folder=folder) as second:
            assert second.wait(30) == 1
            assert second.stdout is not None
            assert "set CELERY_BROKER_URL: to redis://" in second.stdout.read()


def test_a_worker_ends_with_whoever_kept_it(desk: Desk) -> None:
    folder = desk.folder / "here"
    folder.mkdir()
    with running(desk, "worker", folder=folder) as keeper:
        child = wait_until(lambda: _child_of(keeper.pid), what="a worker")
        wait_until(lambda: "ready" in _log_of(keeper), what="a worker that is up")
        keeper.kill()
        wait_until(lambda: not Path(f"/proc/{child}").exists(), what="the worker's end")


def _log_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_worker_that_dies_is_started_again(desk: Desk) -> None:
    folder = desk.folder / "here"
    folder.mkdir()
    with running(desk, "worker", folder=folder) as keeper:
        first = wait_until(lambda: _child_of(keeper.pid), what="a worker")
        wait_until((folder / "var" / "broker.url").exists)
        wait_until(lambda: _seconds_alive(first) > 1.5, what="a worker that lived for a while")
        os.kill(first, signal.SIGKILL)
        second = wait_until(
            lambda: child if (child := _child_of(keeper.pid)) not in (None, first) else None,
            what="another worker",
        )
        assert second != first


def _child_of(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def _seconds_alive(pid: int) -> float:
    started = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - started / os.sysconf("SC_CLK_TCK")


def test_what_a_cms_was_not_told_is_listed_and_told_again(stage: Stage) -> None:
    stage.settings["WEBHOOK_SECRET"] = SECRET
    stage.start("threads")
    with receiving() as receiver:
        request_id = stage.send(asset="none", webhook_url=receiver.url)
        stage.ended(request_id)

        def tried() -> Notification | None:
            with stage.sessions.begin() as session:
                found = session.scalars(select(Notification)).one_or_none()
                return found if found and found.attempts else None

        wait_until(tried, what="a try without a listed host")
        told = stage.cli("notifications", "--request", request_id)
        assert "WEBHOOK_HOSTS does not list 127.0.0.1" in told.stdout
        with stage.sessions.begin() as session:
            given_up = session.scalars(select(Notification)).one()
            given_up.due_at, given_up.dead_at = None, datetime.now(UTC)
            name = str(given_up.id)
        (dead,) = stage.cli("notifications", "--state", "dead", "--json").stdout.splitlines()
        assert json.loads(dead)["id"] == name
        stage.settings["WEBHOOK_HOSTS"] = "127.0.0.1"
        stage.start("threads")
        stage.kill(stage.workers[0])
        assert stage.cli("notifications", "--replay", "--state", "dead").returncode == 0
        wait_until(lambda: receiver.events, what="the event")
        assert stage.cli("notifications", "--replay", name).returncode == 0
        wait_until(lambda: len(receiver.events) > 1, what="the event once more")
        assert len({event["id"] for event in receiver.events}) == 1
    unknown = stage.cli("notifications", "--replay", str(UUID(int=1)))
    assert (unknown.returncode, "there is no notification" in unknown.stderr) == (1, True)
    for wrong in (["--replay"], [name], ["--replay", name, "--state", "dead"]):
        assert stage.cli("notifications", *wrong).returncode == 2
