"""Flower, the real one: behind a password, on this machine only, and it shows no secret."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest
import requests

from tests.acceptance.stage import Stage
from tests.factories import an_asset
from tests.services import free_port
from tests.waiting import wait_until

pytest.importorskip("flower")
USER = ("editor", "hunter2-flower")
PAGES = ["/", "/workers", "/tasks", "/broker", "/api/tasks", "/api/workers", "/metrics"]


@contextmanager
def flower(stage: Stage, **variables: str) -> Iterator[str]:
    """Run Flower as anybody would by hand; gives its URL once it answers."""
    port = free_port()
    with (stage.folder / "flower.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "worker", "flower", f"--port={port}"],
            env={**os.environ, **stage.environment, **variables},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/healthcheck"), what="Flower")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    with suppress(requests.ConnectionError):
        return requests.get(url, timeout=5).ok
    return False


def shown(url: str) -> Mapping[str, str]:
    """Return every page of Flower's, each as whoever has the password sees it."""
    pages = dict.fromkeys([*PAGES, "/api/workers?refresh=1"], "")
    for path in pages:
        page = requests.get(f"{url}{path}", auth=USER, timeout=20)
        assert page.status_code == 200, (path, page.text)
        pages[path] = page.text
    return pages


def test_with_a_password_nobody_gets_in_without_it(stage: Stage) -> None:
    with flower(stage, FLOWER_BASIC_AUTH=":".join(USER)) as url:
        for path in [page for page in PAGES if page != "/metrics"]:
            assert requests.get(f"{url}{path}", timeout=5).status_code == 401, path
            wrong = requests.get(f"{url}{path}", auth=("editor", "guess"), timeout=5)
            assert wrong.status_code == 401, path
        assert requests.get(f"{url}/api/tasks", auth=USER, timeout=5).json() == {}
        with pytest.raises(requests.ConnectionError):  # every other address of this machine's
            requests.get(url.replace("127.0.0.1", "127.0.0.2"), timeout=5)


def test_without_one_its_api_tells_nothing_and_only_this_machine_sees_its_pages(
    stage: Stage,
) -> None:
    with flower(stage) as url:
        assert requests.get(f"{url}/api/tasks", timeout=5).status_code == 401
        assert requests.post(f"{url}/api/worker/shutdown/w0@test", timeout=5).status_code == 401
        with pytest.raises(requests.ConnectionError):
            requests.get(url.replace("127.0.0.1", "127.0.0.2"), timeout=5)


def test_it_shows_the_steps_of_an_export_and_no_secret(stage: Stage) -> None:
    with flower(stage, FLOWER_BASIC_AUTH=":".join(USER)) as url:
        stage.start("threads")
        asset = an_asset()
        export = stage.stored(stage.send(asset=asset))
        tasks = wait_until(
            lambda: text if "exports.download" in (text := shown(url)["/api/tasks"]) else None
        )
        assert str(export.id) in tasks
        everything = "".join(shown(url).values())
    assert stage.environment["UPLYNK_API_KEY"] not in everything
    assert str(export.url) not in everything
    assert USER[1] not in everything
    assert "w0@test" in everything
