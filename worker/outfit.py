"""Outfit: the kit of a process, as the settings say."""

from datetime import UTC, datetime
from random import SystemRandom
from threading import local

import requests

from models.database import open_engine, open_sessions
from worker.cloudslicer import CloudSlicer
from worker.settings import Settings
from worker.steps import Kit
from worker.storage import Storage


class _Sessions(local):
    """One requests session a thread: they keep connections, and are not made to be shared."""

    def __init__(self) -> None:
        self.session = requests.Session()


def now() -> datetime:
    """Return the time, aware and in UTC."""
    return datetime.now(UTC)


def outfit(settings: Settings) -> Kit:
    """Return a kit; nothing in it is connected to anything yet.

    It must be made after a fork and never carried over one: its connections are its process's.
    """
    sessions = _Sessions()
    return Kit(
        settings=settings,
        sessions=open_sessions(open_engine(settings.database_url)),
        slicer=CloudSlicer(
            settings.uplynk_api_url,
            owner=settings.uplynk_user_id,
            key=settings.uplynk_api_key,
            http=lambda: sessions.session,
            now=now,
            timeout_seconds=settings.uplynk_timeout_seconds,
            connect_seconds=settings.uplynk_connect_seconds,
        ),
        http=lambda: sessions.session,
        storage=Storage(settings.storage_url),
        now=now,
        random=SystemRandom(),
    )
