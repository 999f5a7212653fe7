"""Browser: the system's Chromium without a screen, which sees nothing but this machine.

Tests that open it are marked `services`: not every machine has one.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Page, Route, sync_playwright

from tests.lacking import lacking

NAMES = ("chromium", "chromium-browser", "google-chrome")
HERE = frozenset({"127.0.0.1", "localhost", "::1"})
# A browser that is asked for a name of another host knows of none, whoever in the page asks.
ARGUMENTS = (
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
    "--disable-dev-shm-usage",  # a container's is small
)
WAIT_SECONDS = 15


@contextmanager
def opened(
    *, width: int = 1280, height: int = 800, user: tuple[str, str] | None = None, scale: float = 1
) -> Iterator[Page]:
    """Give a new page, in a browser that ends with the context.

    Args:
        width: the window's, in CSS pixels.
        height: the same.
        user: the name and the password that HTTP authentication is answered with.
        scale: how many pixels of a picture make a CSS pixel.

    Raises:
        AssertionError: at the end: the page wanted something of a host that is not this one.
    """
    strangers: list[str] = []

    def keep_here(route: Route) -> None:
        if urlsplit(route.request.url).hostname in HERE:
            route.continue_()
        else:
            strangers.append(route.request.url)
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found(),
            args=[*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])],
        )
        credentials = {"username": user[0], "password": user[1]} if user else None
        context = browser.new_context(
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            http_credentials=credentials,  # type: ignore[arg-type]  # its TypedDict is private
            locale="en-GB",
            timezone_id="UTC",
            reduced_motion="reduce",
        )
        context.set_default_timeout(WAIT_SECONDS * 1000)
        context.route("**/*", keep_here)
        try:
            yield context.new_page()
        finally:
            browser.close()
    assert not strangers, f"the page wanted {strangers}"


def found() -> str:
    """Return the path of this machine's Chromium; without it a test skips or fails."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise lacking(f"there is no Chromium ({', '.join(NAMES)}); on Debian: apt-get install chromium")
