"""Textbook: the worker that one would write from Celery's documentation, written well.

One task asks for an export, one polls its job and retries itself with a countdown until the job has
ended (Celery's user guide, "Retrying"), one brings the file, and its captions if there are any.
Connections to Uplynk, its files and PostgreSQL are kept, messages are acknowledged late, each look
is an UPDATE. It calls Uplynk by the same client as ours does.

What it leaves out, ours does: a request that comes twice is paid for twice; what was asked of
Uplynk before a crash is asked again; a file is as whole as its Content-Length says, is not hashed,
not opened, not synced, and what comes as captions may be none.
"""

import os
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import local

import requests
from celery import Celery, Task
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text

from worker.cloudslicer import CloudSlicer, JobState

QUEUE = "textbook"
INTERVAL_SECONDS = float(os.environ.get("INTERVAL_SECONDS", "60"))
ENDED = {JobState.DONE, JobState.ERROR, JobState.CANCELLED}
CONNECT_AND_READ_SECONDS = (5, 30)
PIECE_BYTES = 1 << 20

TABLE = """
CREATE TABLE textbook (
    job_id text PRIMARY KEY,
    state text,
    polls int NOT NULL DEFAULT 0,
    looked_at timestamptz,
    stored_at timestamptz
)
"""

app = Celery("textbook", broker=os.environ.get("CELERY_BROKER_URL"))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    task_default_queue=QUEUE,
    # longer than any countdown, or Redis would give a waiting message out again
    broker_transport_options={
        "visibility_timeout": int(os.environ.get("VISIBILITY_TIMEOUT_SECONDS", "3600"))
    },
)


class _Sessions(local):
    def __init__(self) -> None:
        self.api = requests.Session()
        self.files = requests.Session()


_sessions = _Sessions()


@lru_cache(maxsize=1)
def slicer() -> CloudSlicer:
    """Return the client of this process."""
    return CloudSlicer(
        os.environ["UPLYNK_API_URL"],
        owner=os.environ["UPLYNK_USER_ID"],
        key=SecretStr(os.environ["UPLYNK_API_KEY"]),
        http=lambda: _sessions.api,
        now=lambda: datetime.now(UTC),
    )


@lru_cache(maxsize=1)
def _engine() -> Engine:
    return create_engine(os.environ["DATABASE_URL"])


@lru_cache(maxsize=1)
def _folder() -> Path:
    folder = Path(os.environ["STORAGE_URL"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


_ASKED = text("INSERT INTO textbook (job_id, state) VALUES (:job_id, :state)")
_LOOKED = text(
    "UPDATE textbook SET state = :state, polls = polls + 1, looked_at = now()"
    " WHERE job_id = :job_id"
)
_STORED = text("UPDATE textbook SET state = 'stored', stored_at = now() WHERE job_id = :job_id")


@app.task(name="textbook.create")  # type: ignore[untyped-decorator]  # Celery has no types
def create(asset: str) -> None:
    """Ask for an export of the asset, and have its job polled."""
    job = slicer().create_export(asset, aaclc=True)
    with _engine().begin() as connection:
        connection.execute(_ASKED, {"state": job.word, "job_id": job.id})
    poll.apply_async((job.id,), countdown=INTERVAL_SECONDS)


@app.task(name="textbook.poll", bind=True, max_retries=None)  # type: ignore[untyped-decorator]  # same
def poll(self: Task, job_id: str) -> None:
    """Look at one job; again after the interval, unless it has ended."""
    job = slicer().get_job(job_id)
    with _engine().begin() as connection:
        connection.execute(_LOOKED, {"state": job.word, "job_id": job_id})
    if job.state is JobState.DONE:
        download.delay(job_id, job.url)
    elif job.state not in ENDED:
        raise self.retry(countdown=INTERVAL_SECONDS)


@app.task(  # type: ignore[untyped-decorator]  # same
    name="textbook.download", autoretry_for=(requests.RequestException,), retry_backoff=True
)
def download(job_id: str, url: str) -> None:
    """Bring the file and its captions; under its own name each is there as a whole."""
    path = _folder() / f"{job_id}.mp4"
    _brought(url, path)
    _brought(f"{url}.ttml", path.with_suffix(".ttml"), may_lack=True)  # nothing tells beforehand
    with _engine().begin() as connection:
        connection.execute(_STORED, {"job_id": job_id})


def _brought(url: str, path: Path, *, may_lack: bool = False) -> None:
    part = path.with_suffix(f"{path.suffix}.part")
    with _sessions.files.get(url, stream=True, timeout=CONNECT_AND_READ_SECONDS) as reply:
        if may_lack and reply.status_code == requests.codes.not_found:
            _ = reply.content  # read, or the connection could not be kept
            return
        reply.raise_for_status()
        with part.open("wb") as file:
            for piece in reply.iter_content(PIECE_BYTES):
                file.write(piece)
    part.replace(path)
