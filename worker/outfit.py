"""Outfit: the kit of a process, as the settings say."""

from collections.abc import Callable, Mapping
from random import SystemRandom
from threading import local
from typing import Any

from models.database import open_engine, open_sessions
from worker import clock
from worker.clock import Clock
from worker.cloudslicer import CloudSlicer
from worker.cloudslicer.allowance import Allowance, storage_at
from worker.cloudslicer.pages import PageSize
from worker.errors import Undelivered
from worker.proxies import Session
from worker.settings import Settings
from worker.steps import Kit
from worker.steps.circuit import Circuit
from worker.steps.governor import Governor
from worker.storage import Storage
from worker.tally import Tally
from worker.transfer.session import FileSession
from worker.webhooks import Webhooks


class _Sessions(local):
    """A thread's own HTTP sessions: they keep connections, and are not made to be shared."""

    def __init__(self, settings: Settings) -> None:
        self.api = Session()
        self.files = FileSession(settings.download_hosts)


def _nobody_to_call(_task: str, _queue: str, _event: Mapping[str, Any]) -> None:
    raise Undelivered("this process sends no tasks")


def outfit(
    settings: Settings,
    *,
    broker_url: str = "",
    call: Callable[[str, str, Mapping[str, Any]], None] = _nobody_to_call,
    stopping: Callable[[], bool] = lambda: False,
    tally: Tally | None = None,
) -> Kit:
    """Return a kit; nothing in it is connected to anything yet.

    By the broker at `broker_url` all workers count their calls to Uplynk together, lest they make
    too many; what this process did is counted in `tally`. By `call` the tasks of a CMS's are sent,
    for who delivers notifications.

    It must be made after a fork and never carried over one: its connections are its process's.
    """
    http, tally = _Sessions(settings), tally or Tally()
    engine = open_engine(settings.database_url)
    sessions, now = open_sessions(engine), Clock(engine)
    allowance = Allowance(
        settings.uplynk_calls_per_second,
        settings.uplynk_user_id,
        storage=storage_at(broker_url),
        stopping=stopping,
    )
    slicer = CloudSlicer(
        settings.uplynk_api_url,
        owner=settings.uplynk_user_id,
        key=settings.uplynk_api_key,
        http=lambda: http.api,
        now=clock.local,  # Uplynk's clock is compared with this machine's
        recorded=now,
        timeout_seconds=settings.uplynk_timeout_seconds,
        connect_seconds=settings.uplynk_connect_seconds,
    )
    slicer.told = tally.called
    return Kit(
        settings=settings,
        sessions=sessions,
        slicer=slicer,
        allowance=allowance,
        http=lambda: http.files,
        storage=Storage(settings.storage_url),
        now=now,
        random=SystemRandom(),
        circuit=Circuit(
            sessions,
            settings.uplynk_user_id,
            now=now,
            probing=settings.call_claim,
            slow_down=allowance.slow_down,
        ),
        governor=Governor(settings, settings.uplynk_user_id, now=now),
        page_size=PageSize(settings.jobs_per_page, now=now),
        webhooks=Webhooks(
            settings.webhook_hosts,
            settings.webhook_secrets,
            timeout_seconds=settings.webhook_timeout_seconds,
            now=clock.local,  # the receiver compares it with its own
            stopping=stopping,
        ),
        call=call,
        stopping=stopping,
        came=tally.came,
    )
