"""Kit: what a step works with, so that a test can hand it something else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from worker import pace
from worker.cloudslicer import CloudSlicer
from worker.cloudslicer.allowance import Allowance
from worker.cloudslicer.pages import PageSize
from worker.settings import Settings
from worker.steps.circuit import Circuit
from worker.steps.courier import Courier
from worker.steps.crew import Crew
from worker.steps.governor import Governor
from worker.steps.later import Later
from worker.steps.lengths import Lengths
from worker.storage import Storage
from worker.transfer.session import FileSession
from worker.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Kit:
    """What a step works with.

    Attributes:
        settings: what the environment says.
        sessions: opens a session on the database.
        slicer: Uplynk's Cloud Slicer, for our account.
        http: gives the calling thread's HTTP session, for files.
        storage: where files end up.
        now: gives the time, aware and in UTC.
        random: where jitter comes from.
        circuit: the breaker around Uplynk.
        allowance: how many calls a second may be made to Uplynk.
        governor: how many exports may be under way at Uplynk.
        page_size: how many jobs of Uplynk's list to ask for at once.
        webhooks: posts events to URLs of a CMS's.
        call: sends a Celery task of a CMS's, by its name and queue, with an event; raises
            Undelivered.
        stopping: whether this worker was told to stop.
        came: is told how many bytes of a film came, piece by piece.
        courier: what is under way to CMSs.
        crew: helps a step do the same for several exports at once.
        lengths: how long assets are whose films wait.
        later: begins what is needed only where a step lasts.
    """

    settings: Settings
    sessions: sessionmaker[Session]
    slicer: CloudSlicer
    http: Callable[[], FileSession]
    storage: Storage
    now: Callable[[], datetime]
    random: Random
    circuit: Circuit
    allowance: Allowance
    governor: Governor
    page_size: PageSize
    webhooks: Webhooks
    call: Callable[[str, str, Mapping[str, Any]], None]
    stopping: Callable[[], bool]
    came: Callable[[int], None] = lambda _size_bytes: None
    lengths: Lengths = field(default_factory=Lengths)
    courier: Courier = field(default_factory=Courier)
    crew: Crew = field(default_factory=Crew)
    later: Later = field(default_factory=Later)

    def until_next_look(self, age: timedelta, *, alone: bool = True) -> timedelta:
        """Return how long to wait before a job of this age is looked at again.

        One that is looked at `alone` is to drift apart from others, and those on a page are not.
        """
        return pace.next_look(
            age,
            ratio=self.settings.poll_ratio,
            least=self.settings.poll_min,
            most=self.settings.poll_max,
            random=self.random if alone else None,
        )
