"""The stage of an acceptance test: the emulator, a broker, a database, and workers as processes.

And the desk of one that needs no services: a folder and the emulator.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from celery import Celery
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from models import Export, Request, State
from models.state import TERMINAL
from tests.factories import ACCOUNT, KEY
from tests.forge import Forge
from tests.waiting import wait_until
from worker.embedded import WorkerProcess, command

# What a queue of Celery's is on Redis: a list of its name, others for lower priorities, and a hash
# of what is not acknowledged, with an index of when each was taken.
MESSAGES = ("exports", "exports\x06\x169", "exports.wakes", "downloads")
UNACKNOWLEDGED = "uplynk-export.unacked"
TAKEN_AT = "uplynk-export.unacked_index"

STOP_SECONDS = 4.0

# The places of a worker's pool.
CONCURRENCY = 4


@dataclass(kw_only=True)
class Desk:
    """Where commands are typed that bring a broker and a database of their own."""

    folder: Path
    emulator: Emulator
    forge: Forge
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a worker: quick, so that a test needn't wait for long."""
        return {
            "UPLYNK_USER_ID": ACCOUNT,
            "UPLYNK_API_KEY": KEY,
            "UPLYNK_API_URL": self.emulator.url,
            "STORAGE_URL": str(self.folder / "exports"),
            "SCRATCH_DIR": str(self.folder / "scratch"),
            "DOWNLOAD_HOSTS": "127.0.0.1",
            "POLL_MIN_SECONDS": "0.5",
            "SWEEP_SECONDS": "1",
            "CLAIM_SECONDS": "4",
            "SUBMIT_SETTLE_SECONDS": "1",
            "UPLYNK_TIMEOUT_SECONDS": "3",
            "UPLYNK_CALLS_PER_SECOND": "1000",
            "LOG_FORMAT": "json",
            **self.settings,
        }

    def cli(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run `uplynk-export …` with these settings over the desk's own."""
        return self._run("worker.cli", arguments, settings)

    def _run(
        self, module: str, arguments: Sequence[str], settings: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *arguments]
        return self.forge.run(command, {**os.environ, **self.environment, **settings}, timeout=60)


@dataclass(kw_only=True)
class Stage(Desk):
    """What a test plays on; every worker that it starts is gone at the end."""

    database_url: str
    broker_url: str
    sessions: sessionmaker[Session]
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a worker on the stage's services."""
        services = {"DATABASE_URL": self.database_url, "CELERY_BROKER_URL": self.broker_url}
        return {**services, **super().environment}

    def start(self, pool: str, *, queues: str = "exports,downloads") -> WorkerProcess:
        """Start a worker; it takes messages once it is up."""
        with (self.folder / "worker.log").open("ab") as log:
            arguments = command(queues=queues, pool=pool, concurrency=CONCURRENCY)
            arguments += ["--hostname", f"w{len(self.workers)}@test"]
            worker = WorkerProcess(
                arguments, environment=self.environment, output=log, launch=self.forge.launch
            )
        self.workers.append(worker)
        return worker

    @staticmethod
    def kill(worker: WorkerProcess) -> None:
        """Kill a worker with all its children, as the death of its machine does."""
        os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()

    def send(
        self, request_id: str | None = None, task: str = "exports.create", **arguments: Any
    ) -> str:
        """Send a message by name, as a CMS does; returns the request's id."""
        request_id = request_id or str(uuid4())
        self.order(task, task_id=request_id, **arguments)
        return request_id

    def order(self, task: str, *, task_id: str | None = None, **arguments: Any) -> None:
        """Send a task by name, as a CMS does."""
        with Celery(broker=self.broker_url, set_as_current=False) as app:
            app.send_task(task, task_id=task_id, queue="exports", kwargs=arguments)

    def request(self, request_id: str) -> Request | None:
        """Return the request as it is on record, if it is."""
        with self.sessions.begin() as session:
            return session.get(Request, request_id)

    def ended(self, request_id: str, *, seconds: float = 60.0) -> Request:
        """Return the request once it is in a terminal state."""
        return wait_until(
            lambda: (
                found if (found := self.request(request_id)) and found.state in TERMINAL else None
            ),
            seconds=seconds,
            what=f"the end of {request_id}",
        )

    def stored(self, request_id: str, *, seconds: float = 60.0) -> Export:
        """Return the request's export once it is stored; it must not end in any other way."""
        request = self.ended(request_id, seconds=seconds)
        assert request.state is State.STORED, request.error
        assert request.export is not None
        return request.export

    def reaches(self, request_id: str, state: State) -> Export:
        """Return the request's export once it is in `state` and somebody is at it."""

        def look() -> Export | None:
            found = self.request(request_id)
            export = found.export if found else None
            return export if export and export.state is state else None

        return wait_until(look, what=f"{request_id} being {state}")

    def exports(self) -> Sequence[Export]:
        """Return all exports."""
        with self.sessions.begin() as session:
            return session.scalars(select(Export)).all()

    def messages(self) -> int:
        """Return how many messages the broker holds, waiting or in a worker's hands."""
        with redis.Redis.from_url(self.broker_url) as client:
            waiting = sum(int(client.llen(queue)) for queue in MESSAGES)
            return waiting + int(client.hlen(UNACKNOWLEDGED))

    def unacknowledged(self) -> int:
        """Return how many messages are in a worker's hands."""
        with redis.Redis.from_url(self.broker_url) as client:
            return int(client.hlen(UNACKNOWLEDGED))

    def run_out(self) -> None:
        """Have every message that is in a worker's hands be so for longer than it may be."""
        with redis.Redis.from_url(self.broker_url) as client:
            for tag in client.zrange(TAKEN_AT, 0, -1):
                client.zadd(TAKEN_AT, {tag: 0}, xx=True)

    def celery(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `celery -A worker …`, as any user of Celery does."""
        return self._run("celery", ["-A", "worker", *arguments], {})


@contextmanager
def cleared(stage: Stage) -> Iterator[Stage]:
    """Give the stage, and end every worker that was started on it, gently first."""
    try:
        yield stage
    finally:
        running = [worker for worker in stage.workers if worker.process.poll() is None]
        for worker in running:
            worker.process.terminate()
        for worker in running:
            try:
                worker.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                stage.kill(worker)
