"""Flower, the real one: behind a password, on this machine only, and it shows no secret."""

from collections.abc import Mapping
from typing import Any

import pytest
import requests
from playwright.sync_api import Page

from tests.acceptance.stage import Stage
from tests.browser import opened
from tests.factories import an_asset
from tests.flowering import SECRET, USER, flower, played, settled
from tests.waiting import wait_until
from worker.steps import Step

pytest.importorskip("flower")
PAGES = ["/", "/workers", "/tasks", "/broker", "/api/tasks", "/api/workers", "/metrics"]


def shown(url: str) -> Mapping[str, str]:
    """Return every page of Flower's, each as whoever has the password sees it."""
    pages = dict.fromkeys([*PAGES, "/api/workers?refresh=1"], "")
    for path in pages:
        page = requests.get(f"{url}{path}", auth=USER, timeout=60)
        assert page.status_code == 200, (path, page.text)
        pages[path] = page.text
    return pages


def test_with_a_password_nobody_gets_in_without_it(stage: Stage) -> None:
    with flower(stage, FLOWER_BASIC_AUTH=":".join(USER)) as url:
        for path in [page for page in PAGES if page != "/metrics"]:
            assert requests.get(f"{url}{path}", timeout=60).status_code == 401, path
            wrong = requests.get(f"{url}{path}", auth=("editor", "guess"), timeout=60)
            assert wrong.status_code == 401, path
        assert requests.get(f"{url}/api/tasks", auth=USER, timeout=60).json() == {}
        with pytest.raises(requests.ConnectionError):  # every other address of this machine's
            requests.get(url.replace("127.0.0.1", "127.0.0.2"), timeout=60)


def test_without_one_its_api_tells_nothing_and_only_this_machine_sees_its_pages(
    stage: Stage,
) -> None:
    with flower(stage) as url:
        assert requests.get(f"{url}/api/tasks", timeout=60).status_code == 401
        assert requests.post(f"{url}/api/worker/shutdown/w0@test", timeout=60).status_code == 401
        with pytest.raises(requests.ConnectionError):
            requests.get(url.replace("127.0.0.1", "127.0.0.2"), timeout=60)


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


def told(found: list[Mapping[str, Any]], step: Step, state: str, *words: str) -> Mapping[str, Any]:
    """Return a task of this name and state that is told in these words."""
    for task in found:
        text = f"{task['kwargs']} {task['result']} {task['exception']}"
        if (task["name"], task["state"]) == (step, state) and all(word in text for word in words):
            return task
    raise AssertionError((step, state, words, found))


@pytest.mark.services
@pytest.mark.timeout(180)
def test_an_operator_reads_there_what_became_of_each_step(stage: Stage) -> None:
    with flower(stage, FLOWER_BASIC_AUTH=":".join(USER)) as url:
        played(stage)
        found = settled(url)
        assert {task["name"] for task in found} <= {str(step) for step in Step}
        for task in found:
            for member in ("args", "kwargs", "result", "exception"):
                assert len(task[member] or "") < 1024, task
        told(found, Step.CREATE, "SUCCESS", "'requester': 'newsroom'", "'metadata': <dict of 2>")
        told(found, Step.CREATE, "FAILURE", "no-asset", "'https://cms.example'")
        told(found, Step.POLL, "SUCCESS", "'looked': 1", "'done': 1", "'calls': 1")
        told(found, Step.DOWNLOAD, "SUCCESS", "'state': 'stored'", "'export_id'")
        told(found, Step.SUBMIT, "SUCCESS", "'took': 1", "'calls': 1")
        told(found, Step.SUBMIT, "FAILURE", "Uplynk refused")
        retried = told(found, Step.DOWNLOAD, "RETRY", "file_unavailable", "again in")
        with opened(width=1440, user=USER) as page:
            read(page, url, retried)
    assert SECRET not in str(found)


def read(page: Page, url: str, retried: Mapping[str, Any]) -> None:
    """Find in the browser what was tried again, and open it."""
    page.goto(f"{url}/tasks")
    page.get_by_role("button", name="Retried").click()
    row = page.locator("#tasks-table tbody tr", has_text=retried["uuid"])
    row.wait_for()
    assert "again in" in row.inner_text()
    assert "exports.download" in row.inner_text()
    assert SECRET not in page.content()
    page.goto(f"{url}/task/{retried['uuid']}")
    text = page.locator("body").inner_text()
    for said in ("exports.download", "RETRY", "file_unavailable", "again in"):
        assert said in text
