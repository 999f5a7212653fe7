"""Lag: how late it is seen that a job is done, and how many calls a job takes.

`python -m bench.lag` lets jobs of 10 s, a minute, ten minutes and an hour run on a clock that jumps
to whatever comes next: a job's beginning or end, the worker's alarm, a sweep. The steps are the
real ones, on PostgreSQL; what is missing is the time that calls, messages and steps take. Jobs are
alone (ten, one after the other, that take up to a tenth less) or in company: all of them begin, one
by one, while the first one lasts.

A textbook's worker that looks every POLL_MIN_SECONDS is late by these at the most, and calls as
often as they go into the duration, in whatever company. That is reckoned, and no measurement.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from pathlib import Path
from random import Random
from statistics import mean
from tempfile import TemporaryDirectory

import click
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

import migrations
from models import Audio, Export, State
from models.database import open_engine, open_sessions
from tests.factories import ACCOUNT, Clock, an_asset, make_export, make_kit
from tests.services import postgres_server
from tests.uplynk import Plans, Uplynk
from worker.cloudslicer import JobState
from worker.settings import Settings
from worker.steps import Step, poll

TICK = timedelta(seconds=0.2)  # the worker looks at its alarm so often
# So many are alone, each after the other, and take up to a tenth less: one would tell of chance.
ALONE = 10
DURATIONS = (10.0, 60.0, 600.0, 3600.0)
LEAST_SECONDS: float = Settings.model_fields["poll_min_seconds"].default
# What POLL_MIN_SECONDS may be where only long jobs run, and calls are to be few.
LONG_LEAST_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How late it was seen.

    Attributes:
        seconds: how long each job takes.
        jobs: how many there were at once.
        poll_min_seconds: POLL_MIN_SECONDS.
        mean_lag_seconds: from a job's end until that was on record, on average.
        worst_lag_seconds: the longest of these.
        bound_seconds: what is promised: a tenth of the duration, POLL_MIN_SECONDS and a sweep.
        calls_per_job: made to Uplynk for all looks at all jobs.
        textbook_calls_per_job: of a worker that looks every POLL_MIN_SECONDS; reckoned.
    """

    seconds: float
    jobs: int
    poll_min_seconds: float
    mean_lag_seconds: float
    worst_lag_seconds: float
    bound_seconds: float
    calls_per_job: float
    textbook_calls_per_job: int


class Play:
    """Jobs that run, and a worker that looks at them, on one clock.

    Args:
        sessions: on an empty database.
        folder: for the kit.
        seconds: how long each job takes.
        jobs: how many there are.
        least: POLL_MIN_SECONDS.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        folder: Path,
        *,
        seconds: float,
        jobs: int,
        least: float,
    ) -> None:
        self._clock, self._plans = Clock(), Plans()
        self._uplynk = Uplynk(self._clock, course=self._plans)
        kit = make_kit(sessions, folder, now=self._clock, poll_min_seconds=least)
        self._kit = replace(kit, slicer=self._uplynk)
        self._duration = timedelta(seconds=seconds)
        random = Random(1)
        # the last one first
        self._begins = sorted(
            (self._clock() + self._duration * random.random() for _ in range(jobs)), reverse=True
        )
        self._ends: list[tuple[datetime, str]] = []  # likewise in the order of time
        self._alarm: datetime | None = None
        self._sweep_at = self._clock()

    def run(self) -> Lag:
        """Go on until each job's end is on record."""
        jobs, ended = len(self._begins), dict[str, datetime]()
        while self._begins or self._ends or self._under_way():
            self._clock.time = max(min(self._next_times()), self._clock())
            now = self._clock()
            while self._begins and self._begins[-1] <= now:
                self._begin(self._begins.pop())
            while self._ends and self._ends[0][0] <= now:
                at, job_id = self._ends.pop(0)
                ended[job_id] = at
                self._uplynk.finish(job_id, JobState.DONE)
            self._wake(now)
        lags = [(at - ended[job_id]).total_seconds() for job_id, at in self._found()]
        settings = self._kit.settings
        besides = settings.poll_min_seconds + settings.sweep_seconds
        seconds = self._duration.total_seconds()
        return Lag(
            seconds=seconds,
            jobs=jobs,
            poll_min_seconds=settings.poll_min_seconds,
            mean_lag_seconds=mean(lags),
            worst_lag_seconds=max(lags),
            bound_seconds=settings.poll_ratio * seconds + besides,
            calls_per_job=(self._plans.calls["get"] + self._plans.calls["list"]) / jobs,
            textbook_calls_per_job=ceil(seconds / settings.poll_min_seconds),
        )

    def _next_times(self) -> Iterator[datetime]:
        yield self._sweep_at
        if self._alarm is not None:
            yield self._alarm
        if self._begins:
            yield self._begins[-1]
        if self._ends:
            yield self._ends[0][0]

    def _begin(self, at: datetime) -> None:
        asset = an_asset()
        job = self._uplynk.create_export(asset, aaclc=False)
        due_at = at + self._kit.until_next_look(timedelta())
        make_export(
            self._kit.sessions,
            state=State.EXPORTING,
            account=ACCOUNT,
            asset=asset,
            audio=Audio.HE_AAC,
            job_id=job.id,
            job_state=job.word,
            job_created_at=at,
            begun_at=at,
            created_at=at,
            state_since=at,
            due_at=due_at,
        )
        self._ends.append((at + self._duration, job.id))
        self._ring_at(due_at)

    def _wake(self, now: datetime) -> None:
        """Have the step taken that the alarm or the sweep wakes."""
        rings = self._alarm is not None and self._alarm <= now
        if rings:
            self._alarm = None
        if self._sweep_at <= now:
            self._sweep_at += timedelta(seconds=self._kit.settings.sweep_seconds)
            rings = rings or self._is_any_due(now)
        if rings:
            for wake in poll(self._kit).wakes:
                if wake.step is Step.POLL:
                    self._ring_at(wake.at or now)

    def _ring_at(self, at: datetime) -> None:
        """Have the alarm ring when the worker looks at it after this; it keeps one time."""
        at = max(at, self._clock()) + TICK
        self._alarm = min(self._alarm or at, at)

    def _is_any_due(self, now: datetime) -> bool:
        rows = select(Export.id).where(Export.state == State.EXPORTING, Export.due_at <= now)
        with self._kit.sessions() as session:
            return session.scalar(rows.limit(1)) is not None

    def _under_way(self) -> bool:
        with self._kit.sessions() as session:
            rows = select(Export.id).where(Export.state == State.EXPORTING)
            return session.scalar(rows.limit(1)) is not None

    def _found(self) -> list[tuple[str, datetime]]:
        """Return when each job's end was on record, by its id."""
        with self._kit.sessions() as session:
            rows = session.execute(select(Export.job_id, Export.state_since))
            return [(str(job_id), at) for job_id, at in rows]


def measured(seconds: float, jobs: int, *, least: float = LEAST_SECONDS) -> Lag:
    """Measure with so many jobs that take so long, where POLL_MIN_SECONDS is `least`."""
    with _sessions() as sessions, TemporaryDirectory() as folder:
        play = partial(Play, sessions, Path(folder), jobs=jobs, least=least)
        if jobs > 1:
            return play(seconds=seconds).run()
        lags = []
        for n in range(ALONE):
            lags.append(play(seconds=seconds * (1 - 0.1 * n / ALONE)).run())
            with sessions.begin() as session:
                session.execute(delete(Export))
        return replace(
            lags[0],
            mean_lag_seconds=mean(lag.mean_lag_seconds for lag in lags),
            worst_lag_seconds=max(lag.worst_lag_seconds for lag in lags),
            calls_per_job=mean(lag.calls_per_job for lag in lags),
        )


@contextmanager
def _sessions() -> Iterator[sessionmaker[Session]]:
    with postgres_server() as url:
        migrations.upgrade(url)
        engine = open_engine(url)
        try:
            yield open_sessions(engine)
        finally:
            engine.dispose()


@click.command()
@click.option("--seconds", multiple=True, type=float, default=DURATIONS, show_default=True)
@click.option("--jobs", multiple=True, type=int, default=(1, 100, 1000), show_default=True)
@click.option("--least", default=LEAST_SECONDS, show_default=True, help="POLL_MIN_SECONDS.")
def main(seconds: tuple[float, ...], jobs: tuple[int, ...], least: float) -> None:
    """Print a JSON line for each duration and number of jobs."""
    for number in jobs:
        for each in seconds:
            click.echo(json.dumps(asdict(measured(each, number, least=least))))


if __name__ == "__main__":
    main()
