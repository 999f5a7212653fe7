"""The operator's page as a process, in a real browser: what failed is found, and taken up again.

Chromium is not on every machine: these tests are for `make services-test`.
"""

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from models import State
from tests import browser
from tests.acceptance.stage import Stage
from tests.factories import an_asset
from tests.screenshots.console import log_in
from tests.served import USER
from tests.waiting import wait_until

pytest.importorskip("sqladmin")


@contextmanager
def console(stage: Stage) -> Iterator[str]:
    """Run `uplynk-export console`; gives its URL once it and its database are well."""
    environment = {**stage.environment, "CONSOLE_USERS": ":".join(USER), "LOG_LEVEL": "WARNING"}
    path = stage.folder / "console.log"
    with path.open("wb") as log:
        command = [sys.executable, "-m", "worker.cli", "console", "--port=0"]
        process = stage.forge.launch(command, environment, log)
    try:
        wait_until(lambda: "\n" in path.read_text(), what="the page's address")
        url = path.read_text().splitlines()[0]
        wait_until(lambda: _is_well(url), what="the page")
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    said = path.read_text()
    assert USER[1] not in said
    assert "logged in" not in said, "LOG_LEVEL asked for warnings only"


def _is_well(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except requests.RequestException:
        return False


@contextmanager
def opened(url: str) -> Iterator[Page]:
    """Open the page and log in; at the end the browser must have had nothing to complain of."""
    complaints: list[object] = []

    def complain(said: Any) -> None:
        complaints.append(getattr(said, "text", said))

    with browser.opened() as page:
        page.on("console", complain)
        page.on("pageerror", complain)
        page.goto(url)
        log_in(page)
        yield page
    assert not complaints


@pytest.mark.services
def test_what_failed_is_found_and_taken_up_again_and_seen_to_end(stage: Stage) -> None:
    failing, slow = an_asset(), an_asset()
    stage.emulator.control.asset(failing, fail_attempts=9)
    stage.emulator.control.asset(slow, run_seconds=600)
    stage.start("threads")
    failed, kept = stage.send(asset=failing), stage.send(asset=slow)
    assert stage.ended(failed).state is State.FAILED
    stage.reaches(kept, State.EXPORTING)
    stage.emulator.control.asset(failing, fail_attempts=0)
    with console(stage) as url, opened(url) as page:
        page.get_by_role("link", name="Exports").click()
        page.get_by_role("link", name="Failed").click()
        page.get_by_label("Error code").fill("export_error")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name=failing[:12]).click()
        expect(page.get_by_role("heading", name="failed")).to_be_visible()
        expect(page.get_by_text("as it says; mend the asset")).to_be_visible()
        page.get_by_role("button", name="Retry", exact=True).click()
        expect(page.get_by_text("Uplynk bills another job")).to_be_visible()
        page.get_by_role("button", name="Retry, and pay").click()
        expect(page.get_by_role("alert").first).to_contain_text("Taken up again.")
        # the page follows by itself what the worker does
        expect(page.get_by_role("heading", name="stored")).to_be_visible(timeout=30_000)
        expect(page.get_by_text(str(stage.stored(failed).sha256))).to_be_visible()

        page.goto(f"{url}/request/list?term={slow}")
        page.get_by_role("link", name=kept[:18]).click()
        page.get_by_role("button", name="Cancel", exact=True).click()
        page.get_by_role("button", name="Leave it").click()
        expect(page.get_by_role("heading", name="exporting")).to_be_visible()
        page.get_by_role("button", name="Cancel", exact=True).click()
        page.get_by_role("button", name="Cancel it").click()
        expect(page.get_by_role("heading", name="cancelled")).to_be_visible()

        page.get_by_role("button", name="Log out").click()
        page.goto(f"{url}/request/details/{kept}")
        expect(page).to_have_url(re.compile("/login"))
    assert stage.ended(kept).state is State.CANCELLED
    assert len(stage.emulator.control.jobs(failing)) == 2


def test_without_a_login_there_is_no_page(stage: Stage) -> None:
    told = stage.cli("console", CONSOLE_USERS="")
    assert (told.returncode, told.stdout) == (1, "")
    assert "CONSOLE_USERS is not set" in told.stderr
    assert "CONSOLE_USERS=name:password" in told.stderr
    short = stage.cli("console", CONSOLE_USERS="ann:hunter2")
    assert short.returncode == 1
    assert "CONSOLE_USERS: has a password of less than 12 characters" in short.stderr
    assert "hunter2" not in short.stderr
