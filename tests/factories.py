"""Factories: exports in any state, and kits with a clock that the test moves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import requests
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from models import Audio, Export, State, admission
from worker.cloudslicer import CloudSlicer
from worker.cloudslicer.allowance import Allowance
from worker.cloudslicer.pages import PageSize
from worker.settings import Settings
from worker.steps import Kit
from worker.steps.circuit import Circuit
from worker.steps.courier import Courier
from worker.steps.crew import Crew
from worker.steps.governor import Governor
from worker.storage import Storage
from worker.transfer.session import FileSession
from worker.webhooks import Webhooks

ACCOUNT = "e" * 32
ASSET = "a29a0bf647454d70bbb9b13d6896a108"
KEY = "emulator-key"


def an_asset() -> str:
    """Return the id of an asset that no other test knows."""
    return uuid4().hex


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.time

    def move(self, **by: float) -> None:
        """Move it on by a timedelta's arguments."""
        self.time += timedelta(**by)


def build_export(*, state: State, **members: Any) -> Export:
    """Return an export in `state`, due now unless `members` say else."""
    now = datetime.now(UTC)
    values = {
        "id": uuid4(),
        "account": ACCOUNT,
        "asset": an_asset(),
        "audio": Audio.HE_AAC,
        "created_at": now,
        "state_since": now,
        "due_at": now,
        **members,
    }
    return Export(state=state, **values)


def make_export(sessions: sessionmaker[Session], *, state: State, **members: Any) -> Export:
    """Return such an export, now in the database."""
    export = build_export(state=state, **members)
    with sessions.begin() as session:
        session.add(export)
    return export


def reload(sessions: sessionmaker[Session], export: Export) -> Export:
    """Return the export as it is in the database now."""
    with sessions.begin() as session:
        return session.get_one(Export, export.id)


def admit_next(session: Session, *, now: datetime, most: int = 1) -> list[Export]:
    """Have the exports that are next be `submitting`; on SQLite one at a time."""
    admission.lock(session)
    outlook = admission.outlook(session, account=ACCOUNT, now=now, most=most)
    until = now + timedelta(minutes=2)
    return admission.admit(session, outlook.chosen, account=ACCOUNT, now=now, until=until)


def make_settings(tmp_path: Path, **members: Any) -> Settings:
    """Return settings that lean on no environment."""
    values = {
        "uplynk_user_id": ACCOUNT,
        "uplynk_api_key": KEY,
        "storage_url": str(tmp_path / "exports"),
        "scratch_dir": tmp_path / "scratch",
        "download_hosts": "127.0.0.1",
        "uplynk_calls_per_second": 10_000,
        **members,
    }
    return Settings(_env_file=None, **values)


def nobody_is_called(task: str, queue: str, _event: Mapping[str, Any]) -> None:
    """Stand for a broker that no test speaks to."""
    raise AssertionError(f"{task} was sent to {queue}")


def make_kit(
    sessions: sessionmaker[Session],
    tmp_path: Path,
    *,
    emulator: Emulator | None = None,
    now: Callable[[], datetime] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    call: Callable[[str, str, Mapping[str, Any]], None] = nobody_is_called,
    **members: Any,
) -> Kit:
    """Return a kit for steps, with Uplynk at `emulator` or, without one, at a closed port."""
    members.setdefault("uplynk_api_url", emulator.url if emulator else "http://127.0.0.1:1")
    settings = make_settings(tmp_path, **members)
    http = requests.Session()
    files = FileSession(settings.download_hosts)
    for session in (http, files):  # nobody closes them, so they keep no connections open
        session.headers["Connection"] = "close"

    def real_now() -> datetime:
        return datetime.now(UTC)

    slicer = CloudSlicer(
        settings.uplynk_api_url,
        owner=settings.uplynk_user_id,
        key=settings.uplynk_api_key,
        http=lambda: http,
        now=real_now,  # signatures are checked against the real time
        timeout_seconds=settings.uplynk_timeout_seconds,
        connect_seconds=settings.uplynk_connect_seconds,
    )
    allowance = Allowance(settings.uplynk_calls_per_second, settings.uplynk_user_id)
    return Kit(
        settings=settings,
        sessions=sessions,
        slicer=slicer,
        http=lambda: files,
        storage=Storage(settings.storage_url),
        now=now or real_now,
        random=Random(0),
        circuit=Circuit(
            sessions,
            settings.uplynk_user_id,
            now=now or real_now,
            probing=settings.call_claim,
            slow_down=allowance.slow_down,
        ),
        allowance=allowance,
        governor=Governor(settings, settings.uplynk_user_id, now=now or real_now),
        page_size=PageSize(settings.jobs_per_page, now=now or real_now),
        webhooks=Webhooks(
            settings.webhook_hosts,
            settings.webhook_secrets,
            timeout_seconds=settings.webhook_timeout_seconds,
            now=real_now,
            stopping=stopping,
        ),
        call=call,
        courier=Courier(lingers_seconds=30),  # all that a message begins is done when it ends
        # one after the other: calls come in the order that a test plans them in
        crew=Crew(1, step_seconds=inf, ahead_seconds=inf),
        stopping=stopping,
    )
