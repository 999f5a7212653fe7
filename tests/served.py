"""Served: the operator's page on a port of this machine, in a thread of the test's."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import requests
from starlette.types import ASGIApp

from tests.factories import ACCOUNT
from tests.waiting import wait_until
from worker.console import app as pages
from worker.settings import ConsoleSettings

USER = ("ann", "correct-horse-battery")


@dataclass
class Served:
    """A page that is served, and what it did.

    Attributes:
        url: where it is.
        woken: how often it woke the workers.
    """

    url: str
    woken: list[None] = field(default_factory=list)

    def logged_in(self) -> requests.Session:
        """Return a session of somebody who has logged in."""
        session = requests.Session()
        session.trust_env = False
        name, password = USER
        data = {"username": name, "password": password}
        answer = session.post(f"{self.url}/login", data=data, timeout=10, allow_redirects=False)
        assert answer.status_code == 303, answer.text
        return session


def console_settings(database_url: str, **members: Any) -> ConsoleSettings:
    """Return settings that lean on no environment."""
    given = {
        "database_url": database_url,
        "uplynk_user_id": ACCOUNT,
        "console_users": ":".join(USER),
        "storage_url": "s3://films/exports",
        **members,
    }
    return ConsoleSettings(_env_file=None, **given)


@contextmanager
def served(
    settings: ConsoleSettings, *, wake: Callable[[], None] = lambda: None
) -> Iterator[Served]:
    """Serve the page for as long as the context lasts."""
    calls: list[None] = []

    def woken() -> None:
        calls.append(None)
        wake()

    with pages.opened(settings, woken) as app, serving(app) as url:
        yield Served(url, calls)


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an application for as long as the context lasts; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = pages.server(app, host="127.0.0.1", port=0)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started, what="the page")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
