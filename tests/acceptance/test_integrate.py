"""The page for a CMS's engineers: its code runs as it stands there, beside the real workers."""

import ast
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import text

from models import State
from tests.acceptance.stage import Stage
from tests.factories import ASSET
from tests.receiver import OTHER_SECRET, SECRET
from tests.services import free_port
from tests.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs/integrate.md"
OURS = {"worker", "models", "migrations", "emulator", "tests"}
SERVE = """
from wsgiref.simple_server import make_server
from django_cms import application
make_server("127.0.0.1", {port}, application).serve_forever()
"""
SERVERS = {
    "flask": ["-m", "flask", "--app", "flask_cms", "run", "--port", "{port}"],
    "fastapi": ["-m", "uvicorn", "fastapi_cms:app", "--port", "{port}"],
    "django": ["-c", SERVE],
}


def blocks() -> dict[str, str]:
    """Return the files that the page holds."""
    return dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL))


def celery_of_the_page() -> list[str]:
    """Return the words by which the page starts the CMS's worker."""
    [line] = re.findall(r"(?ms)^\.venv/bin/(celery --app cms .*?) &$", PAGE.read_text())
    return str(line).replace("\\\n", " ").split()


@pytest.fixture
def desk_of_cms(tmp_path: Path) -> Path:
    """Give a folder with the CMS of the page in it, and nothing of ours."""
    folder = tmp_path / "cms"
    folder.mkdir()
    for name, content in blocks().items():
        (folder / name).write_text(content)
    return folder


@contextmanager
def running(folder: Path, arguments: Sequence[str], **variables: str) -> Iterator[None]:
    """Run a program of the CMS's."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **variables},
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
        print((folder / "log").read_text())  # noqa: T201  (pytest shows it if it failed)


def said(folder: Path, arguments: Sequence[str], **variables: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()


def test_nothing_on_the_page_imports_anything_of_ours() -> None:
    files = {name: content for name, content in blocks().items() if name.endswith(".py")}
    assert len(files) == 5
    for content in files.values():
        for node in ast.walk(ast.parse(content)):
            names = [alias.name for alias in getattr(node, "names", []) if alias.name]
            names.append(getattr(node, "module", None) or "")
            assert not {name.partition(".")[0] for name in names} & OURS


def films(folder: Path) -> list[tuple[Any, ...]]:
    """Return the films that the CMS has noted."""
    with suppress(sqlite3.OperationalError):  # its tables are not made yet
        connection = sqlite3.connect(folder / "cms.db")
        try:
            query = "SELECT article, state, url, error FROM films ORDER BY article"
            return connection.execute(query).fetchall()
        finally:
            connection.close()
    return []


def test_a_cms_of_its_own_is_told_of_the_film_and_of_the_failure(
    stage: Stage, desk_of_cms: Path
) -> None:
    stage.settings["CELERY_RESULT_BACKEND"] = stage.broker_url
    stage.start("prefork")
    variables = {"BROKER_URL": stage.broker_url, "RESULT_BACKEND": stage.broker_url}
    worker = ["-m", *celery_of_the_page()]
    asks = f"import cms; print(cms.request_export(4711, {ASSET!r}))"
    with running(desk_of_cms, worker, **variables):
        request_id = said(desk_of_cms, ["-c", asks], **variables)
        assert said(desk_of_cms, ["-c", asks], **variables) == request_id == "article-4711"
        said(desk_of_cms, ["-c", "import cms; cms.request_export(4712, 'none')"], **variables)
        wait_until(lambda: len(films(desk_of_cms)) == 2, what="two films on record at the CMS")
        export = stage.stored(request_id)
        stored, failed = films(desk_of_cms)
        assert stored == (4711, "stored", export.storage_url, None)
        assert failed[:3] == (4712, "failed", None)
        assert "32 hex digits" in failed[3]
        assert len(stage.emulator.control.jobs(ASSET)) == 1
        assert f"export.stored: {export.storage_url}" in (desk_of_cms / "log").read_text()
        assert said(desk_of_cms, ["status.py", request_id], **variables) == "stored"
        assert said(desk_of_cms, ["status.py", "unheard-of"], **variables) == "None"
    with stage.sessions.begin() as session:
        row = session.execute(text(blocks()["status.sql"])).one()
    assert (row.state, row.storage_url) == ("stored", export.storage_url)
    told = [json.loads(line) for line in stage.cli("notifications", "--json").stdout.splitlines()]
    assert [each["state"] for each in told] == ["delivered", "delivered"]


def test_a_cms_withdraws_what_it_asked_for_and_is_told_so(stage: Stage, desk_of_cms: Path) -> None:
    stage.emulator.control.asset(ASSET, run_seconds=60)
    stage.start("threads")
    variables = {"BROKER_URL": stage.broker_url}
    worker = ["-m", *celery_of_the_page()]
    with running(desk_of_cms, worker, **variables):
        asks = f"import cms; cms.request_export(4711, {ASSET!r})"
        said(desk_of_cms, ["-c", asks], **variables)
        stage.reaches("article-4711", State.EXPORTING)
        said(desk_of_cms, ["-c", "import cms; cms.cancel_export(4711)"], **variables)
        wait_until(lambda: films(desk_of_cms), what="the CMS being told")
    assert films(desk_of_cms) == [(4711, "cancelled", None, None)]


@pytest.mark.parametrize("framework", SERVERS)
def test_a_webhook_is_checked_and_taken(stage: Stage, desk_of_cms: Path, framework: str) -> None:
    stage.settings |= {"WEBHOOK_SECRET": f"{SECRET},{OTHER_SECRET}", "WEBHOOK_HOSTS": "127.0.0.1"}
    stage.start("threads")
    port = free_port()
    server = [argument.format(port=port) for argument in SERVERS[framework]]
    url = f"http://127.0.0.1:{port}"

    def noted() -> dict[str, str] | None:
        """Return what the CMS has noted; None while it is not there yet."""
        with suppress(requests.ConnectionError):
            answer: dict[str, str] = requests.get(f"{url}/films", timeout=30).json()
            return answer
        return None

    with running(desk_of_cms, server, WEBHOOK_SECRET=OTHER_SECRET):
        wait_until(lambda: noted() is not None, what=framework)
        forged = requests.post(f"{url}/hooks/exports", json={"data": {}}, timeout=30)
        assert forged.status_code == 401
        request_id = stage.send(asset="none", webhook_url=f"{url}/hooks/exports")
        assert wait_until(noted, what="the webhook") == {request_id: "failed"}
