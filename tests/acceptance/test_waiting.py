"""Waiting: a thousand exports under way hold no worker and next to no message."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from models import Export, State
from tests.acceptance.stage import Stage
from tests.factories import an_asset, build_export, make_kit
from tests.waiting import wait_until

UNDER_WAY = 1000
MOST_MESSAGES = 10
# Seconds, longer than a busy machine with a slow disk takes for a look at each.
EVERY = 90


@pytest.mark.timeout(300)
def test_a_thousand_waiting_exports_hold_no_message_and_no_worker(
    stage: Stage, tmp_path: Path
) -> None:
    kit = make_kit(stage.sessions, tmp_path, emulator=stage.emulator)

    def begin(asset: str) -> str:
        stage.emulator.control.asset(asset, run_seconds=10_000)
        return kit.slicer.create_export(asset, aaclc=False).id

    assets = [an_asset() for _ in range(UNDER_WAY)]
    with ThreadPoolExecutor(2) as threads:
        jobs = list(threads.map(begin, assets))
    now = datetime.now(UTC)
    due_at = now - timedelta(seconds=EVERY)  # none of them waits for company any more
    with stage.sessions.begin() as session:
        session.add_all(
            build_export(
                state=State.EXPORTING, asset=asset, job_id=job, job_created_at=now, due_at=due_at
            )
            for asset, job in zip(assets, jobs, strict=True)
        )
    stage.settings |= {"POLL_MIN_SECONDS": f"{EVERY}", "POLL_MAX_SECONDS": f"{EVERY}"}
    stage.start("prefork")
    seen: list[int] = []

    def looked_at_all() -> bool:
        seen.append(stage.messages())
        with stage.sessions.begin() as session:
            return (session.scalar(select(func.min(Export.polls))) or 0) >= 1

    wait_until(looked_at_all, seconds=150, what="a look at each")
    assert max(seen) < MOST_MESSAGES
    idle = wait_until(lambda: _is_idle(stage), seconds=60, what="an idle worker")
    assert idle
    assert stage.messages() < MOST_MESSAGES
    assert all(export.state is State.EXPORTING for export in stage.exports())


def _is_idle(stage: Stage) -> bool:
    """Return whether no task runs, waits for a slot, or waits for its time in the worker."""
    for what in ("active", "reserved", "scheduled"):
        answer = stage.celery("inspect", what, "--json")
        if answer.returncode != 0 or any(json.loads(answer.stdout).values()):
            return False
    return True
