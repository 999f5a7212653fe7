"""Textbook: the worker that one would write from Celery's documentation, written well.

A task for each export polls its job, and retries itself with a countdown until the job has ended
(Celery's user guide, "Retrying"). Connections to Uplynk and PostgreSQL are kept, messages are
acknowledged late, each look is an UPDATE. It calls Uplynk by the same client as ours does.
"""

import os
from datetime import UTC, datetime
from functools import lru_cache
from threading import local
from typing import Any

import requests
from celery import Celery, Task
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text

from worker.cloudslicer import CloudSlicer, JobState

INTERVAL_SECONDS = float(os.environ.get("INTERVAL_SECONDS", "60"))
ENDED = {JobState.DONE, JobState.ERROR, JobState.CANCELLED}

app = Celery("textbook", broker=os.environ.get("CELERY_BROKER_URL"))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    task_default_queue="textbook",
    # longer than any countdown, or Redis would give a waiting message out again
    broker_transport_options={
        "visibility_timeout": int(os.environ.get("VISIBILITY_TIMEOUT_SECONDS", "3600"))
    },
)


class _Sessions(local):
    def __init__(self) -> None:
        self.api = requests.Session()


@lru_cache(maxsize=1)
def slicer() -> CloudSlicer:
    """Return the client of this process."""
    sessions = _Sessions()
    return CloudSlicer(
        os.environ["UPLYNK_API_URL"],
        owner=os.environ["UPLYNK_USER_ID"],
        key=SecretStr(os.environ["UPLYNK_API_KEY"]),
        http=lambda: sessions.api,
        now=lambda: datetime.now(UTC),
    )


@lru_cache(maxsize=1)
def _engine() -> Engine:
    return create_engine(os.environ["DATABASE_URL"])


_LOOKED = text(
    "UPDATE textbook SET state = :state, polls = polls + 1, looked_at = now()"
    " WHERE job_id = :job_id"
)


@app.task(name="textbook.poll", bind=True, max_retries=None)  # type: ignore[untyped-decorator]
def poll(self: Task, job_id: str) -> None:
    """Look at one job; again after the interval, unless it has ended."""
    job = slicer().get_job(job_id)
    with _engine().begin() as connection:
        connection.execute(_LOOKED, {"state": job.word, "job_id": job_id})
    if job.state not in ENDED:
        raise self.retry(countdown=INTERVAL_SECONDS)


def create_table(engine: Engine) -> None:
    """Make its table."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE textbook (job_id text PRIMARY KEY, state text,"
                " polls int NOT NULL DEFAULT 0, looked_at timestamptz)"
            )
        )


def begin(engine: Engine, job_ids: list[str], delays: list[float]) -> None:
    """Have these jobs polled, each for the first time after its delay."""
    rows: list[dict[str, Any]] = [{"job_id": job_id} for job_id in job_ids]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO textbook (job_id) VALUES (:job_id)"), rows)
    for job_id, delay in zip(job_ids, delays, strict=True):
        poll.apply_async((job_id,), countdown=delay)
