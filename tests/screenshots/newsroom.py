"""Newsroom: a made-up day of a publisher's, in a database, for the pictures."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import md5, sha256
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from models import Audio, Batch, Captions, Channel, Export, History, Notification, Request, State
from models.state import TERMINAL
from tests.factories import ACCOUNT

Way = tuple[tuple[State, str], ...]

_ASKED = (State.REQUESTED, "a request asked for it")
_SUBMITTING = (State.SUBMITTING, "about to ask Uplynk for it")
_JOB = "Uplynk took it: job {job}"
_DONE = (State.DOWNLOADING, "Uplynk is done")
WAYS: dict[State, Way] = {
    State.REQUESTED: (_ASKED,),
    State.SUBMITTING: (_ASKED, _SUBMITTING),
    State.EXPORTING: (_ASKED, _SUBMITTING, (State.EXPORTING, _JOB)),
    State.DOWNLOADING: (_ASKED, _SUBMITTING, (State.EXPORTING, _JOB), _DONE),
    State.STORED: (
        *(_ASKED, _SUBMITTING, (State.EXPORTING, _JOB), _DONE),
        (State.STORED, "the file is stored and verified"),
    ),
    State.CANCELLED: (
        *(_ASKED, _SUBMITTING, (State.EXPORTING, _JOB)),
        (State.CANCELLED, "cancelled: no request wants it any more; job {job} was cancelled"),
    ),
}
# A code, its sentence, and the state that it came in.
ERRORS = (
    (
        "export_error",
        "Uplynk could not export the asset: slice 118 of 240 can't be decoded",
        State.EXPORTING,
    ),
    ("uplynk_not_found", "Uplynk knows no such asset", State.SUBMITTING),
    (
        "duration_mismatch",
        "the film lasts 612.4 s, and its asset 1804.1 s: two thirds of it are missing",
        State.DOWNLOADING,
    ),
    ("storage_unavailable", "the storage did not take the file: 503 Slow Down", State.DOWNLOADING),
)
JOBS = {State.EXPORTING: "error", State.DOWNLOADING: "done"}
DAY: Mapping[State, int] = {
    State.REQUESTED: 46,
    State.SUBMITTING: 1,
    State.EXPORTING: 14,
    State.DOWNLOADING: 5,
    State.STORED: 180,
    State.FAILED: 9,
    State.CANCELLED: 3,
}
WHO = (("newsroom", None, 10), ("sports", None, 5), ("archive", "archive-1998", 0))
TITLES = ("Evening news", "Cup final, highlights", "Harbour fire, aerials", "Interview, the mayor")


class Newsroom:
    """Writes exports that came about as real ones do, before a given moment; a seed makes them."""

    def __init__(self, sessions: sessionmaker[Session], *, now: datetime) -> None:
        self._sessions, self._now, self._random = sessions, now, Random(4711)
        self._number = 0

    def fill(self, numbers: Mapping[State, int]) -> dict[State, list[UUID]]:
        """Write so many of each state; returns the ids of what is in each."""
        with self._sessions.begin() as session:
            session.add(Batch(name="archive-1998", account=ACCOUNT, created_at=self._ago(hours=20)))
            return {
                state: [self._write(session, state) for _ in range(number)]
                for state, number in numbers.items()
            }

    def _ago(self, **by: float) -> datetime:
        return self._now - timedelta(**by)

    def _write(self, session: Session, state: State) -> UUID:
        self._number += 1
        requester, batch, priority = self._random.choice(WHO)
        way = self._way(state)
        moments = self._moments(way)
        job = md5(f"job {self._number}".encode()).hexdigest()  # noqa: S324  (an id by its looks)
        export = Export(
            id=UUID(int=self._random.getrandbits(128), version=4),
            account=ACCOUNT,
            asset=md5(f"asset {self._number}".encode()).hexdigest(),  # noqa: S324  (same)
            audio=Audio.AAC_LC if self._random.random() < 0.1 else Audio.HE_AAC,
            priority=priority,
            requester=requester,
            state=state,
            state_since=moments[-1],
            created_at=moments[0],
            due_at=None if state in TERMINAL else self._ago(seconds=-self._random.uniform(2, 90)),
            job_id=job if (State.EXPORTING, _JOB) in way else None,
            polls=len(moments) * 3,
            **self._members(state),
        )
        session.add(export)
        session.flush()
        self._tell(session, export, dict(zip(moments, way, strict=True)), job)
        self._ask(session, export, batch)
        return export.id

    def _way(self, state: State) -> Way:
        """Return the states that it came through, each with the reason."""
        if state is not State.FAILED:
            return WAYS[state]
        code, message, at = self._error()
        return (*WAYS[at], (State.FAILED, f"{code}: {message}"))

    def _error(self) -> tuple[str, str, State]:
        return ERRORS[self._number % len(ERRORS)]

    def _moments(self, way: Way) -> list[datetime]:
        """Return when it came into each of them."""
        steps, state = len(way), way[-1][0]
        took = [0.4, 1.6, self._random.uniform(120, 900), self._random.uniform(30, 240)][
            : steps - 1
        ]
        if state in TERMINAL:
            end = self._random.uniform(1, 58) * 60
        else:
            end = self._random.uniform(5, 200 if state is State.DOWNLOADING else 1500)
        begin = self._ago(seconds=end + sum(took))
        return [begin + timedelta(seconds=sum(took[:number])) for number in range(steps)]

    def _members(self, state: State) -> dict[str, Any]:
        size = self._random.randrange(300_000_000, 4_000_000_000)
        if state is State.EXPORTING:
            return {"job_state": "assigned", "job_progress": f"{self._random.randrange(100)}%"}
        if state is State.DOWNLOADING:
            done = int(size * self._random.uniform(0.05, 0.95))
            rate = self._random.uniform(18e6, 45e6)
            return {
                "job_state": "done",
                "bytes_done": done,
                "bytes_total": size,
                "bytes_per_second": rate,
                "claim": UUID(int=self._number),
                "claimed_until": self._ago(seconds=-50),
                "done_at": self._ago(minutes=4),
            }
        if state is State.STORED:
            seconds = size / 750_000
            return {
                "job_state": "done",
                "size_bytes": size,
                "sha256": sha256(str(self._number).encode()).hexdigest(),
                "storage_url": f"s3://films/exports/{self._number:05}.mp4",
                "duration_seconds": seconds,
                "asset_duration_seconds": seconds + 0.02,
                "video_codec": "h264",
                "width": 1920,
                "height": 1080,
                "audio_codec": "aac",
                "audio_profile": "HE-AAC",
                "captions": Captions.PRESENT,
                "captions_url": f"s3://films/exports/{self._number:05}.ttml",
            }
        if state is State.FAILED:
            code, message, at = self._error()
            url = "https://export.uplynk.com/x.mp4" if at is State.DOWNLOADING else None
            told = {"job_state": JOBS.get(at), "url": url, "asked_at": self._now}
            return {**told, "error_code": code, "error_message": message}
        if state is State.CANCELLED:
            return {"error_code": "cancelled", "error_message": "no request wants it any more"}
        return {}

    @staticmethod
    def _tell(
        session: Session, export: Export, moments: dict[datetime, tuple[State, str]], job: str
    ) -> None:
        before: State | None = None
        for at, (state, reason) in moments.items():
            session.add(
                History(
                    export_id=export.id,
                    at=at,
                    from_state=before,
                    to_state=state,
                    reason=reason.replace("{job}", job),
                )
            )
            before = state

    def _ask(self, session: Session, export: Export, batch: str | None) -> None:
        request_id = str(UUID(int=self._random.getrandbits(128), version=4))
        is_cancelled = export.state is State.CANCELLED
        session.add(
            Request(
                id=request_id,
                export_id=export.id,
                asset=export.asset,
                audio=export.audio,
                priority=export.priority,
                requester=export.requester,
                batch=batch,
                metadata_={
                    "article": 4000 + self._number,
                    "title": self._random.choice(TITLES),
                },
                callback_task="cms.export_finished",
                callback_queue="cms",
                created_at=export.created_at,
                cancelled_at=export.state_since if is_cancelled else None,
            )
        )
        session.flush()
        if export.state in TERMINAL:
            at = export.state_since + timedelta(seconds=0.3)
            session.add(
                Notification(
                    id=UUID(int=self._random.getrandbits(128), version=4),
                    request_id=request_id,
                    channel=Channel.TASK,
                    type=f"export.{export.state}",
                    payload={"type": f"export.{export.state}", "data": {"asset": export.asset}},
                    created_at=export.state_since,
                    delivered_at=at,
                )
            )


def filled(
    sessions: sessionmaker[Session], numbers: Mapping[State, int] = DAY
) -> dict[State, list[UUID]]:
    """Write a day that ends now; returns the ids of what is in each state."""
    return Newsroom(sessions, now=datetime.now(UTC)).fill(numbers)
