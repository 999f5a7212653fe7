"""Slicers: Cloud Slicer clients for tests, by URL."""

from collections.abc import Callable
from datetime import UTC, datetime

import requests
from pydantic import SecretStr

from tests.factories import ACCOUNT, KEY
from worker.cloudslicer import CloudSlicer


def real_now() -> datetime:
    """Return the time, which signatures are checked against."""
    return datetime.now(UTC)


def _session() -> requests.Session:
    session = requests.Session()
    session.headers["Connection"] = "close"  # or what is left open would be a ResourceWarning
    return session


def make_slicer(
    url: str,
    *,
    owner: str = ACCOUNT,
    key: str = KEY,
    now: Callable[[], datetime] = real_now,
    timeout_seconds: float = 5.0,
    connect_seconds: float = 5.0,
) -> CloudSlicer:
    """Return a client that keeps no connection from one call to the next."""
    return CloudSlicer(
        url,
        owner=owner,
        key=SecretStr(key),
        http=_session,
        now=now,
        timeout_seconds=timeout_seconds,
        connect_seconds=connect_seconds,
    )
