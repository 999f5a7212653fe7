"""The operator's page, as docs/operate.md shows it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from playwright.sync_api import Page

import migrations
from models import State
from models.database import open_sessions
from tests.browser import opened
from tests.engines import opened as opened_engine
from tests.screenshots.newsroom import filled
from tests.served import USER, console_settings, served


def take(folder: Path) -> Iterator[Path]:
    """Take the pictures; gives where each is."""
    with TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/newsroom.db"
        migrations.upgrade(url)
        with opened_engine(url) as engine:
            ids = filled(open_sessions(engine))
        with served(console_settings(url)) as page, opened(width=1280, height=800) as browser:
            browser.goto(page.url)
            log_in(browser)
            for name, path in pictures(ids).items():
                browser.goto(f"{page.url}{path}")
                browser.evaluate("document.fonts.ready")
                yield _shot(browser, folder / f"console-{name}.png")


def pictures(ids: dict[State, list[UUID]]) -> dict[str, str]:
    """Return the path of the page of each picture."""
    return {
        "now": "/",
        "exports": "/export/list?which=failed",
        "export": f"/export/details/{ids[State.FAILED][0]}",
        "download": f"/export/details/{ids[State.DOWNLOADING][0]}",
    }


def log_in(browser: Page) -> None:
    """Log in on the page that is open, and wait for the one that was wanted."""
    name, password = USER
    browser.get_by_label("Name").fill(name)
    browser.get_by_label("Password").fill(password)
    browser.get_by_role("button", name="Log in").click()
    browser.get_by_role("button", name="Log out").wait_for()


def _shot(browser: Page, path: Path) -> Path:
    browser.screenshot(path=path, animations="disabled")
    return path
