"""Demo: the main job from end to end on this machine, on real MP4 files, in half a minute."""

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from emulator.control import Control
from emulator.settings import EmulatorSettings
from models import Request, State
from worker.embedded import installation
from worker.runs import Send, Wanted, run
from worker.tables import outcomes

WITH_CAPTIONS = "0dd5c0de0dd5c0de0dd5c0de0dd5c0de"
AAC_LC = "a29a0bf647454d70bbb9b13d6896a108"
BROKEN = "bad0bad0bad0bad0bad0bad0bad0bad0"

MARK = ".uplynk-export-demo"

WANTED = (Wanted(WITH_CAPTIONS), Wanted(AAC_LC, aaclc=True), Wanted(BROKEN))
EXPECTED = (State.STORED, State.STORED, State.FAILED)


def demo(folder: Path, *, send: Send, console: Console, told: Callable[[], bool]) -> bool:
    """Show the main job; returns whether all came out as it should.

    Two exports that work, one of them in AAC-LC and one with captions, and one that Uplynk fails.

    Args:
        folder: what an earlier demo left there is removed; what this one makes stays.
        send: sends `exports.create` by name.
        console: where it is shown.
        told: whether it was told to stop.
    """
    _clear(folder)
    emulator = EmulatorSettings(run_seconds=3.0, retry_wait_seconds=0.5, media_seconds=5.0)
    environment = {
        "STORAGE_URL": str(folder / "exports"),
        "STORAGE_KEY": "{asset}/{export_id}.mp4",
        "POLL_MIN_SECONDS": "1",
        "POLL_MAX_SECONDS": "5",
        "CLAIM_SECONDS": "10",
        "SWEEP_SECONDS": "1",
    }
    console.print("Starting a Cloud Slicer emulator, a broker, a database and a Celery worker …")
    with installation(folder, environment, emulator=emulator) as installed:
        control = Control(installed.settings.uplynk_api_url)
        control.asset(WITH_CAPTIONS, captions=True)
        control.asset(AAC_LC, captions=False)
        control.asset(BROKEN, fail_attempts=3, last_error="the source has no video track")
        console.print("Sending exports.create for three assets, as a CMS would:")
        requests = run(installed, WANTED, send=send, console=console, told=told)
    for line in outcomes(requests):
        console.print(line)
    _tell(folder, requests, console)
    return tuple(request.state for request in requests) == EXPECTED


def _clear(folder: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise click.UsageError(f"{folder} is not empty, and holds no demo; name a new folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _tell(folder: Path, requests: list[Request], console: Console) -> None:
    database = shlex.quote(f"DATABASE_URL=sqlite:///{folder}/exports.db")
    database = database if database.startswith("D") else f"env {database}"
    command = shlex.quote(sys.argv[0])
    console.print(f"""
The third was to fail: Uplynk said that it can't export that asset, and the record says why.
To look at them:
  any player         open the files above: the asset's id is drawn into the picture
  every step in SQL  {database} {command} show {requests[0].id}
  the worker's log   {folder}/worker.log""", soft_wrap=True, markup=False)  # fmt: skip
