"""World: what a storm comes over: services, the emulator, the fleet, and the folder of it all."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

import migrations
from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from models.database import open_sessions
from tests.chaos.broker import Broker
from tests.chaos.database import WORKERS, Database
from tests.chaos.fleet import Fleet, Post
from tests.chaos.wishes import MEDIA_SECONDS, MOST_ATTEMPTS, Wish
from tests.engines import opened
from tests.factories import ACCOUNT, KEY
from tests.receiver import SECRET, Receiver, receiving
from tests.services import restartable_postgres

CLAIM_SECONDS = 5.0
SWEEP_SECONDS = 1.0
SETTLE_SECONDS = 2.0
TIMEOUT_SECONDS = 3.0
# A job shows up in the list this late: less than SETTLE_SECONDS, as its meaning demands.
LIST_LAG_SECONDS = 1.0
SMALL_PAGES = 25  # so that the list has several


@dataclass(slots=True)
class Struck:
    """That the emulator misbehaved from `begin` on; until `end` once that is known.

    Attributes:
        fired: how many requests it struck.
    """

    call: str
    kind: str
    begin: datetime
    end: datetime | None = None
    fired: int = 0


@dataclass(slots=True)
class World:
    """Everything that a storm comes over."""

    folder: Path
    broker: Broker
    database: Database
    sessions: sessionmaker[Session]
    emulator: Emulator
    fleet: Fleet
    receiver: Receiver
    faults: dict[str, Struck] = field(default_factory=dict)

    @property
    def storage(self) -> Path:
        """The folder in which the workers store."""
        return self.folder / "exports"

    @property
    def scratch(self) -> Path:
        """The folder in which downloads grow."""
        return self.folder / "scratch"

    def misbehave(self, call: str, kind: str, **parameters: object) -> str:
        """Let the emulator misbehave; returns the fault's id."""
        fault = self.emulator.control.fault(call, kind, **parameters)
        self.faults[fault] = Struck(call, kind, datetime.now(UTC))
        return fault

    def behave(self, *faults: str) -> None:
        """Let the emulator behave again, as to these faults, or to all if none is given."""
        for rule in self.emulator.control.faults():
            if not faults or rule["id"] in faults:
                self.emulator.control.remove_fault(rule["id"])
                struck = self.faults[rule["id"]]
                struck.end, struck.fired = datetime.now(UTC), rule["fired"]


@contextmanager
def opened_world(folder: Path, wishes: Sequence[Wish], posts: Sequence[Post]) -> Iterator[World]:
    """Give a world in fair weather with nobody at work yet; afterwards no process is left."""
    logs, temporary = folder / "logs", folder / "tmp"
    logs.mkdir()
    temporary.mkdir()
    with ExitStack() as stack:
        broker = stack.enter_context(Broker())
        database = Database(stack.enter_context(restartable_postgres()))
        migrations.upgrade(database.server.url)
        database.install_audit()
        engine = stack.enter_context(opened(database.url_for("chaos")))
        emulator = stack.enter_context(Emulator(_uplynk(folder)))
        for wish in wishes:
            emulator.control.asset(wish.asset.id, **wish.asset.told())

        def environment(name: str) -> Mapping[str, str]:
            return {
                **_variables(folder, emulator),
                "DATABASE_URL": database.url_for(WORKERS + name),
                "CELERY_BROKER_URL": broker.url,
                "TMPDIR": str(temporary),
            }

        fleet = Fleet(environment, logs, {post.name: post for post in posts})
        stack.callback(fleet.end)
        receiver = stack.enter_context(receiving())
        yield World(folder, broker, database, open_sessions(engine), emulator, fleet, receiver)


def _uplynk(folder: Path) -> EmulatorSettings:
    return EmulatorSettings(
        media_seconds=MEDIA_SECONDS,
        media_dir=folder / "media",
        retry_wait_seconds=0.5,
        max_attempts=MOST_ATTEMPTS,
        list_max_limit=SMALL_PAGES,
        list_lag_seconds=LIST_LAG_SECONDS,
        other_jobs=10,
    )


def _variables(folder: Path, emulator: Emulator) -> dict[str, str]:
    return {
        "UPLYNK_USER_ID": ACCOUNT,
        "UPLYNK_API_KEY": KEY,
        "UPLYNK_API_URL": emulator.url,
        "UPLYNK_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        "STORAGE_URL": str(folder / "exports"),
        "SCRATCH_DIR": str(folder / "scratch"),
        "DOWNLOAD_HOSTS": "127.0.0.1",
        "CLAIM_SECONDS": str(CLAIM_SECONDS),
        "SWEEP_SECONDS": str(SWEEP_SECONDS),
        "UPLYNK_CALLS_PER_SECOND": "1000",
        "POLL_MIN_SECONDS": "0.5",
        "SUBMIT_SETTLE_SECONDS": str(SETTLE_SECONDS),
        "MAX_EXPORTING": "30",
        "DELETE_JOBS_AFTER_HOURS": "0.002",  # seven seconds
        "WEBHOOK_HOSTS": "127.0.0.1",
        "WEBHOOK_SECRET": SECRET,
        "LOG_FORMAT": "json",
    }
