"""All that one emulator remembers, in one place."""

import asyncio
import time
from typing import Any

from aiohttp import web

from emulator.calls import CallCount
from emulator.catalogue import Asset, Catalogue
from emulator.clock import Clock
from emulator.faults import FaultRules
from emulator.jobs import Job, JobStore, Plan, described
from emulator.library import Library, StoredFile
from emulator.media import Recipe
from emulator.rate import Rate
from emulator.settings import EmulatorSettings


class World:
    """One account: its assets, jobs, files and faults, and the time that it lives in."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self.settings = settings
        self.clock = self._new_clock()
        self.catalogue = Catalogue(settings)
        self.jobs = JobStore()
        self.faults = FaultRules(settings.seed)
        self.calls = CallCount()
        self.library = Library(settings.media_dir)
        self.rate = Rate(settings.calls_per_second)
        self.closing = asyncio.Event()
        self._others = 0
        self._begin()

    def reset(self) -> None:
        """Be as at the start; only files made so far are kept."""
        self.clock = self._new_clock()
        for part in (self.catalogue, self.jobs, self.calls):
            part.reset()
        self.faults = FaultRules(self.settings.seed)
        self._begin()

    def real_now(self) -> float:
        """Return the Unix time that this server believes in, which its setting may skew."""
        return time.time() + self.settings.clock_skew_seconds

    def new_job(self, asset_id: str, asset: Asset, *, aaclc: bool) -> Job:
        """Make a job, and now and then a slicing job of the same asset beside it."""
        job = Job(asset_id, self.clock.now(), self._plan(asset), aaclc=aaclc)
        self.jobs.add(job)
        self._add_other(asset_id)
        return job

    def described(self, job: Job, files_url: str) -> dict[str, Any]:
        """Return the job object as the API gives it."""
        return described(
            job,
            self.clock.now(),
            owner=self.settings.user_id,
            files_url=files_url,
            echo_aaclc=self.settings.echo_aaclc,
        )

    async def video(self, job: Job) -> StoredFile:
        """Return the file that the job makes."""
        asset = self.catalogue.asset(job.asset)
        recipe = Recipe(
            asset=job.asset,
            seconds=asset.media_seconds,
            width=self.settings.width,
            height=self.settings.height,
            aaclc=job.aaclc,
            sound=asset.audio != "none",
            size_bytes=asset.media_size_bytes,
        )
        return await self.library.video(recipe)

    async def captions(self, job: Job) -> StoredFile | None:
        """Return the captions of the job's asset, or None if it has none."""
        asset = self.catalogue.asset(job.asset)
        if not asset.captions:
            return None
        return await self.library.captions(job.asset, asset.media_seconds)

    def _new_clock(self) -> Clock:
        return Clock(self.real_now(), self.settings.speed)

    def _begin(self) -> None:
        self._others = 0
        self._add_other("0" * 31 + "1")
        for rule in self.settings.faults:
            self.faults.add(rule)

    def _add_other(self, asset_id: str) -> None:
        """Add one job of another kind until there are as many as the setting says."""
        if self._others >= self.settings.other_jobs:
            return
        self._others += 1
        plan = self._plan(self.catalogue.asset(asset_id))
        self.jobs.add(Job(asset_id, self.clock.now(), plan, kind="slice"))

    def _plan(self, asset: Asset) -> Plan:
        return Plan(
            wait_seconds=asset.wait_seconds,
            run_seconds=asset.run_seconds,
            retry_wait_seconds=self.settings.retry_wait_seconds,
            max_attempts=self.settings.max_attempts,
            fail_attempts=asset.fail_attempts,
            last_error=asset.last_error,
        )


WORLD = web.AppKey("world", World)
